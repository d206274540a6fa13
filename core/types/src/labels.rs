//! Label keys written and read by the mesh.

/// On namespaces: switches all of the mesh's admission webhooks off when `disabled`.
pub const ADMISSION_WEBHOOKS: &str = "config.linkerd.io/admission-webhooks";
/// On injected pods: the namespace of the control plane that the pod's proxy belongs to.
pub const CONTROL_PLANE_NS: &str = "linkerd.io/control-plane-ns";
/// On injected pods: the pod's own namespace.
pub const WORKLOAD_NS: &str = "linkerd.io/workload-ns";
/// On control-plane objects: the component's name.
pub const CONTROL_PLANE_COMPONENT: &str = "linkerd.io/control-plane-component";
/// On the control-plane namespace.
pub const IS_CONTROL_PLANE: &str = "linkerd.io/is-control-plane";
/// On extension namespaces: the extension's name.
pub const EXTENSION: &str = "linkerd.io/extension";
/// Prefix of the label that names an injected pod's owner: `linkerd.io/proxy-deployment`, and so on.
pub const PROXY_OWNER_PREFIX: &str = "linkerd.io/proxy-";
/// On a Service: exported through the gateway (`true`) or by remote discovery (`remote-discovery`).
pub const EXPORTED: &str = "mirror.linkerd.io/exported";
/// On a Service: a member of the federated service of its name (`member`).
pub const FEDERATED: &str = "mirror.linkerd.io/federated";
/// On everything the service mirror makes.
pub const MIRRORED_SERVICE: &str = "mirror.linkerd.io/mirrored-service";
/// On everything the service mirror makes: the linked cluster it came from.
pub const CLUSTER_NAME: &str = "mirror.linkerd.io/cluster-name";
/// On probe services of a mirrored gateway.
pub const MIRRORED_GATEWAY: &str = "mirror.linkerd.io/mirrored-gateway";
/// On the control plane's copy of a link's credentials.
pub const LINK_CLUSTER_NAME: &str = "multicluster.linkerd.io/cluster-name";
/// On flat-mode mirrors: the cluster whose endpoints stand behind the service.
pub const REMOTE_DISCOVERY: &str = "multicluster.linkerd.io/remote-discovery";
/// On flat-mode mirrors: the service's name in that cluster.
pub const REMOTE_SERVICE: &str = "multicluster.linkerd.io/remote-service";
/// Kubernetes' own label tying an EndpointSlice to its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Kubernetes' own label naming the writer of an EndpointSlice.
pub const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The managed-by value of slices written by the service mirror.
pub const SLICE_MANAGER_MIRROR: &str = "linkerd-service-mirror";
/// On federated Services that the mirror makes, so that they are told from mirrors of one cluster.
pub const FEDERATED_SERVICE: &str = "mirror.linkerd.io/federated-service";
