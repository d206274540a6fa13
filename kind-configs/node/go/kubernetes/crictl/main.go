// A small stand-in for crictl: what kind asks of a node (inspecti), and what a person wants to look at (images, pods, ps).
// Its name and output shapes are crictl's as far as they go.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const socket = "unix:///run/containerd/containerd.sock"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: crictl inspecti IMAGE | images | pods | ps")
	}
	conn, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	images, runtime := cri.NewImageServiceClient(conn), cri.NewRuntimeServiceClient(conn)
	switch {
	case args[0] == "inspecti" && len(args) == 2:
		answer, err := images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: args[1]}})
		if err != nil {
			return err
		}
		if answer.GetImage() == nil {
			return fmt.Errorf("no such image %q", args[1])
		}
		return show("status", answer.Image)
	case args[0] == "images" && len(args) == 1:
		answer, err := images.ListImages(ctx, &cri.ListImagesRequest{})
		if err != nil {
			return err
		}
		for _, image := range answer.Images {
			fmt.Println(image.RepoTags, image.Id, image.Size)
		}
		return nil
	case args[0] == "pods" && len(args) == 1:
		answer, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		if err != nil {
			return err
		}
		for _, pod := range answer.Items {
			fmt.Println(pod.Id, pod.State, pod.Metadata.Namespace+"/"+pod.Metadata.Name)
		}
		return nil
	case args[0] == "ps" && len(args) == 1:
		answer, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{})
		if err != nil {
			return err
		}
		for _, container := range answer.Containers {
			fmt.Println(container.Id, container.State, container.Metadata.Name, container.Image.GetImage(), container.PodSandboxId)
		}
		return nil
	}
	return fmt.Errorf("unknown command %q: inspecti IMAGE, images, pods and ps are there", args)
}

// show prints a message as JSON, under a name.
func show(name string, message proto.Message) error {
	text, err := protojson.Marshal(message)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("{%q:%s}\n", name, text)
	return err
}
