{{/* Full reference of an image. Dot: root, image{name, version}. */}}
{{- define "partials.image" -}}
{{ .image.name }}:{{ .image.version | default .root.Values.linkerdVersion | default .root.Chart.AppVersion }}
{{- end }}

{{/* Trust domain in force. Dot: the root. */}}
{{- define "partials.trust-domain" -}}
{{ .Values.identityTrustDomain | default .Values.clusterDomain }}
{{- end }}

{{/* Labels of every object. Dot: root, component. */}}
{{- define "partials.labels" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/part-of: Linkerd
app.kubernetes.io/version: {{ .root.Values.linkerdVersion | default .root.Chart.AppVersion | quote }}
linkerd.io/control-plane-component: {{ .component }}
linkerd.io/control-plane-ns: {{ .root.Release.Namespace }}
{{- end }}

{{/* Who made an object. Dot: the root. */}}
{{- define "partials.created-by" -}}
linkerd.io/created-by: isthmus/{{ if eq .Release.Service "CLI" }}cli{{ else }}helm{{ end }} {{ .Chart.AppVersion }}
{{- end }}

{{/* requests and limits. Dot: {cpu: {request, limit}, memory: …}. */}}
{{- define "partials.resources" -}}
{{- $limits := dict -}}
{{- $requests := dict -}}
{{- range $name, $resource := . -}}
{{- if $resource.limit -}}{{- $limits = merge $limits (dict $name $resource.limit) -}}{{- end -}}
{{- if $resource.request -}}{{- $requests = merge $requests (dict $name $resource.request) -}}{{- end -}}
{{- end -}}
{{- if or $limits $requests -}}
resources:
  {{- if $limits }}
  limits:
    {{- toYaml $limits | nindent 4 }}
  {{- end }}
  {{- if $requests }}
  requests:
    {{- toYaml $requests | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end }}

{{/* Metadata of a control-plane pod. Dot: root, component, deployment. */}}
{{- define "partials.pod-metadata" -}}
annotations:
  {{- include "partials.created-by" .root | nindent 2 }}
  config.linkerd.io/default-inbound-policy: all-unauthenticated
  linkerd.io/inject: disabled
  linkerd.io/proxy-version: {{ .root.Values.proxy.image.version | default .root.Values.linkerdVersion | default .root.Chart.AppVersion | quote }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
labels:
  linkerd.io/control-plane-component: {{ .component }}
  linkerd.io/control-plane-ns: {{ .root.Release.Namespace }}
  linkerd.io/proxy-deployment: {{ .deployment }}
  linkerd.io/workload-ns: {{ .root.Release.Namespace }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Top of a Deployment's spec. Dot: root, component, deployment. */}}
{{- define "partials.deployment" -}}
replicas: {{ .root.Values.controllerReplicas }}
revisionHistoryLimit: {{ .root.Values.revisionHistoryLimit }}
selector:
  matchLabels:
    linkerd.io/control-plane-component: {{ .component }}
    linkerd.io/control-plane-ns: {{ .root.Release.Namespace }}
    linkerd.io/proxy-deployment: {{ .deployment }}
{{- with .root.Values.deploymentStrategy }}
strategy:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Scheduling of a control-plane pod. Dot: root, component. */}}
{{- define "partials.scheduling" -}}
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
{{- with .root.Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- if .root.Values.enablePodAntiAffinity }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          labelSelector:
            matchExpressions:
              - key: linkerd.io/control-plane-component
                operator: In
                values:
                  - {{ .component }}
          topologyKey: topology.kubernetes.io/zone
    requiredDuringSchedulingIgnoredDuringExecution:
      - labelSelector:
          matchExpressions:
            - key: linkerd.io/control-plane-component
              operator: In
              values:
                - {{ .component }}
        topologyKey: kubernetes.io/hostname
{{- end }}
{{- end }}

{{/* What all controller containers share. Dot: root, port (admin). */}}
{{- define "partials.controller" -}}
image: {{ include "partials.image" (dict "root" .root "image" (dict "name" .root.Values.controllerImage "version" .root.Values.controllerImageVersion)) }}
imagePullPolicy: {{ .root.Values.imagePullPolicy }}
livenessProbe:
  httpGet:
    path: /live
    port: {{ .port }}
  initialDelaySeconds: 10
readinessProbe:
  httpGet:
    path: /ready
    port: {{ .port }}
  periodSeconds: 1
  failureThreshold: 7
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop:
      - ALL
  readOnlyRootFilesystem: true
  {{- if ge (int .root.Values.controllerGID) 0 }}
  runAsGroup: {{ .root.Values.controllerGID }}
  {{- end }}
  runAsNonRoot: true
  runAsUser: {{ .root.Values.controllerUID }}
  seccompProfile:
    type: RuntimeDefault
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* A PodDisruptionBudget where asked for. Dot: root, component, deployment. */}}
{{- define "partials.pdb" -}}
{{- if .root.Values.enablePodDisruptionBudget }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .deployment }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "partials.labels" . | nindent 4 }}
  annotations:
    {{- include "partials.created-by" .root | nindent 4 }}
spec:
  maxUnavailable: {{ .root.Values.controller.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      linkerd.io/control-plane-component: {{ .component }}
{{- end }}
{{- end }}

{{/* A webhook of the injector, for pods with the label isthmus.dev/require-proxy (`required` is In) or for the others (NotIn). Dot: root, name, policy, required, resources. */}}
{{- define "partials.webhook" -}}
{{- $injector := .root.Values.proxyInjector -}}
{{- $namespaces := $injector.namespaceSelector | default dict -}}
{{- $objects := $injector.objectSelector | default dict -}}
- name: {{ .name }}.linkerd.io
  admissionReviewVersions: ["v1"]
  clientConfig:
    service:
      name: linkerd-proxy-injector
      namespace: {{ .root.Release.Namespace }}
      path: /
  failurePolicy: {{ .policy }}
  namespaceSelector:
    {{- with omit $namespaces "matchExpressions" }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    matchExpressions:
      # Whatever values say, the control plane can always start: its own pods never ask this webhook.
      - key: kubernetes.io/metadata.name
        operator: NotIn
        values:
          - {{ .root.Release.Namespace }}
      {{- with $namespaces.matchExpressions }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  objectSelector:
    {{- with omit $objects "matchExpressions" }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    matchExpressions:
      - key: isthmus.dev/require-proxy
        operator: {{ .required }}
        values:
          - "true"
      {{- if eq .required "In" }}
      # What was injected by hand needs nobody to be asked.
      - key: linkerd.io/control-plane-ns
        operator: DoesNotExist
      {{- end }}
      {{- with $objects.matchExpressions }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  rules:
    - operations: ["CREATE"]
      apiGroups: [""]
      apiVersions: ["v1"]
      resources:
        {{- toYaml .resources | nindent 8 }}
      scope: Namespaced
  sideEffects: NoneOnDryRun
  timeoutSeconds: {{ $injector.timeoutSeconds }}
{{- end -}}
