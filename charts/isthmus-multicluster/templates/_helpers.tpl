{{/* Full reference of an image. Dot: root, name, version. */}}
{{- define "multicluster.image" -}}
{{ .name }}:{{ .version | default .root.Values.linkerdVersion | default .root.Chart.AppVersion }}
{{- end }}

{{/* Labels of every object. Dot: root, component. */}}
{{- define "multicluster.labels" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/part-of: Linkerd
app.kubernetes.io/version: {{ .root.Values.linkerdVersion | default .root.Chart.AppVersion | quote }}
linkerd.io/extension: multicluster
component: {{ .component }}
{{- end }}

{{/* Who made an object. Dot: the root. */}}
{{- define "multicluster.created-by" -}}
linkerd.io/created-by: isthmus/{{ if eq .Release.Service "CLI" }}cli{{ else }}helm{{ end }} {{ .Chart.AppVersion }}
{{- end }}

{{/* Scheduling. Dot: root, app. */}}
{{- define "multicluster.scheduling" -}}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if .root.Values.enablePodAntiAffinity }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          labelSelector:
            matchLabels:
              app: {{ .app }}
          topologyKey: topology.kubernetes.io/zone
    requiredDuringSchedulingIgnoredDuringExecution:
      - labelSelector:
          matchLabels:
            app: {{ .app }}
        topologyKey: kubernetes.io/hostname
{{- end }}
{{- end }}

{{/* A PodDisruptionBudget where replicas are spread. Dot: root, component, app. */}}
{{- define "multicluster.pdb" -}}
{{- if .root.Values.enablePodAntiAffinity }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .app }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "multicluster.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app: {{ .app }}
{{- end }}
{{- end }}

{{/* What both containers are allowed. Dot: uid. */}}
{{- define "multicluster.security-context" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop:
      - ALL
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}
