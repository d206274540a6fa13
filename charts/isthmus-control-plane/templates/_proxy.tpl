{{/*
The sidecar of control-plane pods, which no webhook can inject. It is what the injector would add (a test compares
them), but that the controllers do not wait for it: they need no proxy to start, and identity's proxy needs identity.
Its readiness is asked more often, so that a cluster comes up quickly. The dot says:
  root
  identityAddr, destinationAddr, policyAddr   where the control plane is, if not behind its Services
  inboundPorts                                ports of the containers, sorted
  requireTLS                                  ports whose clients must speak mesh TLS
  skipInbound                                 ports whose traffic does not pass the proxy
*/}}
{{- define "partials.proxy" -}}
{{- $v := .root.Values -}}
{{- $ns := .root.Release.Namespace -}}
{{- $trust := include "partials.trust-domain" .root -}}
{{- $any := ternary "0.0.0.0" "[::]" $v.disableIPv6 -}}
{{- $out := printf "127.0.0.1:%d" (int $v.proxy.ports.outbound) -}}
name: linkerd-proxy
image: {{ include "partials.image" (dict "root" .root "image" $v.proxy.image) }}
imagePullPolicy: {{ $v.proxy.image.pullPolicy | default $v.imagePullPolicy }}
env:
  - name: _pod_name
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: _pod_ns
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  - name: _pod_uid
    valueFrom:
      fieldRef:
        fieldPath: metadata.uid
  - name: _pod_ip
    valueFrom:
      fieldRef:
        fieldPath: status.podIP
  - name: _pod_nodeName
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
  - name: _pod_sa
    valueFrom:
      fieldRef:
        fieldPath: spec.serviceAccountName
  - name: _pod_containerName
    value: linkerd-proxy
  - name: _l5d_ns
    value: {{ $ns }}
  - name: _l5d_trustdomain
    value: {{ $trust }}
  {{- if $v.proxy.cores }}
  - name: LINKERD2_PROXY_CORES
    value: {{ $v.proxy.cores | quote }}
  {{- end }}
  - name: LINKERD2_PROXY_CORES_MIN
    value: {{ $v.proxy.runtime.workers.minimum | quote }}
  {{- with $v.proxy.runtime.workers.maximumCPURatio }}
  - name: LINKERD2_PROXY_CORES_MAX_RATIO
    value: {{ . | quote }}
  {{- end }}
  - name: LINKERD2_PROXY_LOG
    value: {{ printf "%s%s" $v.proxy.logLevel (ternary "" ",[{headers}]=off,[{request}]=off" (eq $v.proxy.logHTTPHeaders "insecure")) | quote }}
  - name: LINKERD2_PROXY_LOG_FORMAT
    value: {{ $v.proxy.logFormat }}
  - name: LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED
    value: {{ $v.proxy.enableShutdownEndpoint | quote }}
  {{- with $v.proxy.shutdownGracePeriod }}
  - name: LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD
    value: {{ . | quote }}
  {{- end }}
  {{- with $v.proxy.accessLog }}
  - name: LINKERD2_PROXY_ACCESS_LOG
    value: {{ . | quote }}
  {{- end }}
  - name: LINKERD2_PROXY_DESTINATION_SVC_ADDR
    value: {{ .destinationAddr | default (printf "linkerd-dst-headless.%s.svc.%s.:8086" $ns $v.clusterDomain) }}
  - name: LINKERD2_PROXY_DESTINATION_SVC_NAME
    value: linkerd-destination.{{ $ns }}.serviceaccount.identity.{{ $ns }}.{{ $trust }}
  - name: LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS
    value: {{ $v.clusterNetworks | quote }}
  - name: LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES
    value: {{ ternary "." (printf "svc.%s." $v.clusterDomain) $v.proxy.enableExternalProfiles | quote }}
  - name: LINKERD2_PROXY_DESTINATION_CONTEXT
    value: '{"ns":"$(_pod_ns)", "nodeName":"$(_pod_nodeName)", "pod":"$(_pod_name)"}'
  - name: LINKERD2_PROXY_POLICY_SVC_ADDR
    value: {{ .policyAddr | default (printf "linkerd-policy.%s.svc.%s.:8090" $ns $v.clusterDomain) }}
  - name: LINKERD2_PROXY_POLICY_SVC_NAME
    value: linkerd-destination.{{ $ns }}.serviceaccount.identity.{{ $ns }}.{{ $trust }}
  - name: LINKERD2_PROXY_POLICY_WORKLOAD
    value: '{"ns":"$(_pod_ns)", "pod":"$(_pod_name)"}'
  - name: LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS
    value: {{ $v.clusterNetworks | quote }}
  - name: LINKERD2_PROXY_INBOUND_DEFAULT_POLICY
    value: all-unauthenticated
  - name: LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT
    value: {{ $v.proxy.control.streams.initialTimeout | quote }}
  - name: LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT
    value: {{ $v.proxy.control.streams.idleTimeout | quote }}
  - name: LINKERD2_PROXY_CONTROL_STREAM_LIFETIME
    value: {{ $v.proxy.control.streams.lifetime | quote }}
  - name: LINKERD2_PROXY_CONTROL_LISTEN_ADDR
    value: "{{ $any }}:{{ $v.proxy.ports.control }}"
  - name: LINKERD2_PROXY_ADMIN_LISTEN_ADDR
    value: "{{ $any }}:{{ $v.proxy.ports.admin }}"
  - name: LINKERD2_PROXY_INBOUND_LISTEN_ADDR
    value: "{{ $any }}:{{ $v.proxy.ports.inbound }}"
  - name: LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR
    value: {{ $out | quote }}
  - name: LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS
    value: {{ ternary $out (printf "%s,[::1]:%d" $out (int $v.proxy.ports.outbound)) $v.disableIPv6 | quote }}
  - name: LINKERD2_PROXY_INBOUND_IPS
    valueFrom:
      fieldRef:
        fieldPath: status.podIPs
  - name: LINKERD2_PROXY_INBOUND_PORTS
    value: {{ .inboundPorts | quote }}
  {{- with $v.proxy.opaquePorts }}
  - name: LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION
    value: {{ . | quote }}
  {{- end }}
  {{- with .requireTLS }}
  - name: LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_TLS
    value: {{ . | quote }}
  {{- end }}
  {{- with $v.proxy.requireIdentityOnInboundPorts }}
  - name: LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY
    value: {{ . | quote }}
  {{- end }}
  - name: LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT
    value: {{ $v.proxy.inboundConnectTimeout | quote }}
  - name: LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT
    value: {{ $v.proxy.outboundConnectTimeout | quote }}
  - name: LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT
    value: {{ $v.proxy.outboundDiscoveryCacheUnusedTimeout | quote }}
  - name: LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT
    value: {{ $v.proxy.inboundDiscoveryCacheUnusedTimeout | quote }}
  {{- if $v.proxy.disableOutboundProtocolDetectTimeout }}
  - name: LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT
    value: 365d
  {{- end }}
  {{- if $v.proxy.disableInboundProtocolDetectTimeout }}
  - name: LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT
    value: 365d
  {{- end }}
  - name: LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE
    value: 10000ms
  - name: LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE
    value: 10000ms
  - name: LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT
    value: 30s
  - name: LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT
    value: 30s
  - name: LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL
    value: {{ $v.proxy.inbound.server.http2.keepAliveInterval | quote }}
  - name: LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT
    value: {{ $v.proxy.inbound.server.http2.keepAliveTimeout | quote }}
  - name: LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL
    value: {{ $v.proxy.outbound.server.http2.keepAliveInterval | quote }}
  - name: LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT
    value: {{ $v.proxy.outbound.server.http2.keepAliveTimeout | quote }}
  - name: LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS
    value: {{ $v.proxy.metrics.hostnameLabels | quote }}
  - name: LINKERD2_PROXY_IDENTITY_DIR
    value: /var/run/linkerd/identity/end-entity
  - name: LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS
    valueFrom:
      configMapKeyRef:
        name: linkerd-identity-trust-roots
        key: ca-bundle.crt
  - name: LINKERD2_PROXY_IDENTITY_TOKEN_FILE
    value: /var/run/secrets/tokens/linkerd-identity-token
  - name: LINKERD2_PROXY_IDENTITY_SVC_ADDR
    value: {{ .identityAddr | default (printf "linkerd-identity-headless.%s.svc.%s.:8080" $ns $v.clusterDomain) }}
  - name: LINKERD2_PROXY_IDENTITY_LOCAL_NAME
    value: $(_pod_sa).$(_pod_ns).serviceaccount.identity.$(_l5d_ns).$(_l5d_trustdomain)
  - name: LINKERD2_PROXY_IDENTITY_SVC_NAME
    value: linkerd-identity.{{ $ns }}.serviceaccount.identity.{{ $ns }}.{{ $trust }}
  {{- range concat $v.proxy.additionalEnv $v.proxy.experimentalEnv }}
  - {{- toYaml . | nindent 4 }}
  {{- end }}
ports:
  - containerPort: {{ $v.proxy.ports.inbound }}
    name: linkerd-proxy
  - containerPort: {{ $v.proxy.ports.admin }}
    name: linkerd-admin
livenessProbe:
  httpGet:
    path: /live
    port: {{ $v.proxy.ports.admin }}
  {{- toYaml $v.proxy.livenessProbe | nindent 2 }}
readinessProbe:
  httpGet:
    path: /ready
    port: {{ $v.proxy.ports.admin }}
  {{- merge (dict "periodSeconds" 1) $v.proxy.readinessProbe | toYaml | nindent 2 }}
{{- if $v.proxy.nativeSidecar }}
restartPolicy: Always
{{- end }}
{{- with $v.proxy.waitBeforeExitSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ . }}
{{- end }}
{{- with include "partials.resources" $v.proxy.resources }}
{{ . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop:
      - ALL
  readOnlyRootFilesystem: true
  {{- if ge (int $v.proxy.gid) 0 }}
  runAsGroup: {{ $v.proxy.gid }}
  {{- end }}
  runAsNonRoot: true
  runAsUser: {{ $v.proxy.uid }}
  seccompProfile:
    type: RuntimeDefault
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - mountPath: /var/run/linkerd/identity/end-entity
    name: linkerd-identity-end-entity
  - mountPath: /var/run/secrets/tokens
    name: linkerd-identity-token
{{- end }}

{{/* Redirect rules and their proof. Dot: as for partials.proxy. */}}
{{- define "partials.proxy-init" -}}
{{- $v := .root.Values -}}
{{- $privileged := or $v.proxyInit.privileged (gt (int $v.proxyInit.closeWaitTimeoutSecs) 0) -}}
{{- if not $v.cniEnabled }}
- name: linkerd-init
  image: {{ include "partials.image" (dict "root" .root "image" $v.proxyInit.image) }}
  imagePullPolicy: {{ $v.proxyInit.image.pullPolicy | default $v.imagePullPolicy }}
  args:
    - redirect
    - --ipv6
    - {{ not $v.disableIPv6 | quote }}
    - --incoming-proxy-port
    - {{ $v.proxy.ports.inbound | quote }}
    - --outgoing-proxy-port
    - {{ $v.proxy.ports.outbound | quote }}
    - --proxy-uid
    - {{ $v.proxy.uid | quote }}
    {{- if ge (int $v.proxy.gid) 0 }}
    - --proxy-gid
    - {{ $v.proxy.gid | quote }}
    {{- end }}
    - --inbound-ports-to-ignore
    - "{{ $v.proxy.ports.control }},{{ $v.proxy.ports.admin }}{{ with .skipInbound }},{{ . }}{{ end }}{{ with $v.proxyInit.ignoreInboundPorts }},{{ . }}{{ end }}"
    - --outbound-ports-to-ignore
    - "{{ $v.proxyInit.kubeAPIServerPorts }}{{ with $v.proxyInit.ignoreOutboundPorts }},{{ . }}{{ end }}"
    {{- with $v.proxyInit.skipSubnets }}
    - --subnets-to-ignore
    - {{ . | quote }}
    {{- end }}
    {{- if gt (int $v.proxyInit.closeWaitTimeoutSecs) 0 }}
    - --timeout-close-wait-secs
    - {{ $v.proxyInit.closeWaitTimeoutSecs | quote }}
    {{- end }}
  {{- with include "partials.resources" $v.proxy.resources }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    allowPrivilegeEscalation: {{ $privileged }}
    capabilities:
      add:
        - NET_ADMIN
      drop:
        - ALL
    privileged: {{ $privileged }}
    readOnlyRootFilesystem: true
    runAsGroup: {{ $v.proxyInit.runAsGroup }}
    runAsNonRoot: {{ ne (int $v.proxyInit.runAsUser) 0 }}
    runAsUser: {{ $v.proxyInit.runAsUser }}
    seccompProfile:
      type: RuntimeDefault
  terminationMessagePolicy: FallbackToLogsOnError
{{- end }}
- name: linkerd-network-validator
  image: {{ include "partials.image" (dict "root" .root "image" $v.proxyInit.image) }}
  imagePullPolicy: {{ $v.proxyInit.image.pullPolicy | default $v.imagePullPolicy }}
  args:
    - validate
    - --connect-addr
    - {{ $v.networkValidator.connectAddr | quote }}
    - --listen-addr
    - {{ $v.networkValidator.listenAddr | default (printf "0.0.0.0:%d" (int $v.proxy.ports.outbound)) | quote }}
    - --timeout
    - {{ $v.networkValidator.timeout | quote }}
    {{- if not $v.disableIPv6 }}
    - --ipv6
    {{- end }}
  {{- with include "partials.resources" $v.proxy.resources }}
  {{- . | nindent 2 }}
  {{- end }}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities:
      drop:
        - ALL
    readOnlyRootFilesystem: true
    runAsGroup: 65534
    runAsNonRoot: true
    runAsUser: 65534
    seccompProfile:
      type: RuntimeDefault
  terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* The init containers of a control-plane pod. Dot: as for partials.proxy. */}}
{{- define "partials.init-containers" -}}
{{- include "partials.proxy-init" . }}
{{- if .root.Values.proxy.nativeSidecar }}
- {{- include "partials.proxy" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The sidecar among the ordinary containers, where it is not native. Dot: as for partials.proxy. */}}
{{- define "partials.classic-sidecar" -}}
{{- if not .root.Values.proxy.nativeSidecar }}
- {{- include "partials.proxy" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The volumes of the sidecar. */}}
{{- define "partials.proxy-volumes" -}}
- name: linkerd-identity-end-entity
  emptyDir:
    medium: Memory
- name: linkerd-identity-token
  projected:
    sources:
      - serviceAccountToken:
          audience: identity.l5d.io
          expirationSeconds: 86400
          path: linkerd-identity-token
{{- end }}
