{{- define "hivq.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "hivq.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hivq.labels" -}}
{{ include "hivq.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: hivq
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "hivq.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "hivq.fullname" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end -}}
{{- end }}

{{- define "hivq.keys" -}}
{{- default (printf "%s-keys" (include "hivq.fullname" .)) .Values.keys.existingSecret -}}
{{- end }}

{{- /* hivq.image (list $ image): of .Values.image.worker, say, with what a pool overrides. */ -}}
{{- define "hivq.image" -}}
{{- $root := index . 0 }}{{- $image := index . 1 -}}
{{- printf "%s%s:%s" $root.Values.image.registry $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end }}

{{- define "hivq.address" -}}
tcp://{{ include "hivq.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end }}

{{- define "hivq.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "hivq.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* The namespaces of the pools, each once. */ -}}
{{- define "hivq.poolNamespaces" -}}
{{- $names := list }}
{{- range .Values.pools }}{{ if . }}{{ $names = append $names (default $.Release.Namespace .namespace) }}{{ end }}{{ end }}
{{- $names | uniq | sortAlpha | join "," -}}
{{- end }}

{{- /* pools.yaml, as the coordinator reads it. */ -}}
{{- define "hivq.pools" -}}
pools:{{ if not (include "hivq.poolNamespaces" .) }} []{{ end }}
{{- range $name, $pool := .Values.pools }}{{ if $pool }}
{{- $ranks := int $pool.ranks }}{{ $perPod := int (default 1 $pool.ranksPerPod) }}{{ $minimum := int (default 0 $pool.minimum) }}
{{- if gt $minimum (int $pool.maximum) }}{{ fail (printf "pools.%s.minimum is %d, and its maximum %d; it must not be more" $name $minimum (int $pool.maximum)) }}{{ end }}
{{- if mod $ranks $perPod }}{{ fail (printf "pools.%s.ranks is %d, which is not a multiple of its ranksPerPod, %d; make it one" $name $ranks $perPod) }}{{ end }}
{{- if hasKey (default dict $pool.labels) "pool" }}{{ fail (printf "pools.%s.labels.pool is the pool's name; leave it out" $name) }}{{ end }}
  - name: {{ $name }}
    launcher: kubernetes
    ranks: {{ $pool.ranks }}
    ranks_per_pod: {{ default 1 $pool.ranksPerPod }}
    minimum: {{ default 0 $pool.minimum }}
    maximum: {{ $pool.maximum }}
    idle: {{ default "10m" $pool.idle }}
    {{- with $pool.labels }}
    labels: {{ toJson . }}
    {{- end }}
    namespace: {{ default $.Release.Namespace $pool.namespace }}
    image: {{ include "hivq.image" (list $ (merge (dict) (default dict $pool.image) $.Values.image.worker)) | quote }}
    pull_policy: {{ (merge (dict) (default dict $pool.image) $.Values.image.worker).pullPolicy }}
    operator: {{ default "mpijob" $pool.operator }}
    {{- if ne (default "mpijob" $pool.operator) "mpijob" }}
    service: {{ include "hivq.fullname" $ }}-gang
    ssh_secret: {{ default (printf "%s-gang" (include "hivq.fullname" $)) $.Values.keys.existingGangSecret }}
    {{- end }}
    key_secret: {name: {{ include "hivq.keys" $ }}, key: gang}
    cache: /cache
    {{- with $pool.mpirun }}
    mpirun: {{ toJson . }}
    {{- end }}
    resources: {{ include "hivq.poolResources" $pool }}
    template:
      {{- include "hivq.poolTemplate" (list $ $name $pool) | nindent 6 }}
{{- end }}{{ end }}
{{- end }}

{{- define "hivq.poolResources" -}}
{{- $resources := deepCopy (default dict .resources) -}}
{{- if .gpus }}{{ $resources = mergeOverwrite $resources (dict "limits" (dict "nvidia.com/gpu" .gpus)) }}{{ end -}}
{{- toJson $resources -}}
{{- end }}

{{- define "hivq.poolTemplate" -}}
{{- $root := index . 0 }}{{- $name := index . 1 }}{{- $pool := index . 2 -}}
metadata:
  labels:
    {{- include "hivq.selector" $root | nindent 4 }}
    app.kubernetes.io/component: gang
    {{- with $pool.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $pool.podAnnotations }}
  annotations: {{ toJson . }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets: {{ toJson . }}
  {{- end }}
  securityContext: {{ include "hivq.podSecurity" $root | fromYaml | toJson }}
  {{- with $pool.nodeSelector }}
  nodeSelector: {{ toJson . }}
  {{- end }}
  {{- with $pool.tolerations }}
  tolerations: {{ toJson . }}
  {{- end }}
  {{- with $pool.affinity }}
  affinity: {{ toJson . }}
  {{- end }}
  {{- with $pool.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: gang
      securityContext: {{ include "hivq.containerSecurity" $root | fromYaml | toJson }}
      {{- with $pool.env }}
      env: {{ toJson . }}
      {{- end }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: cache, mountPath: /cache}
        - {name: shm, mountPath: /dev/shm}
        {{- range $pool.volumeMounts }}
        - {{ toJson . }}
        {{- end }}
  volumes:
    - {name: tmp, emptyDir: {}}
    - name: cache
      {{- if (default dict $pool.cache).claimName }}
      persistentVolumeClaim: {claimName: {{ $pool.cache.claimName }}}
      {{- else if (default dict $pool.cache).hostPath }}
      hostPath: {path: {{ $pool.cache.hostPath }}, type: DirectoryOrCreate}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ default "1Gi" $pool.sharedMemory }}}}
    {{- range $pool.volumes }}
    - {{ toJson . }}
    {{- end }}
{{- end }}

{{- /* A pod that talks to the coordinator with the operator's key, the backup's and the test's: (list $ restartPolicy keys…). */ -}}
{{- define "hivq.clientPod" -}}
{{- $root := index . 0 -}}
restartPolicy: {{ index . 1 }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "hivq.podSecurity" $root | nindent 2 }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: keys
    secret:
      secretName: {{ include "hivq.keys" $root }}
      defaultMode: 0440
      items:
        {{- range slice . 2 }}
        - {key: {{ . }}, path: {{ . }}}
        {{- end }}
  - {name: tmp, emptyDir: {}}
{{- end }}

{{- define "hivq.clientContainer" -}}
image: {{ include "hivq.image" (list . .Values.image.coordinator) | quote }}
imagePullPolicy: {{ .Values.image.coordinator.pullPolicy }}
securityContext: {{- include "hivq.containerSecurity" . | nindent 2 }}
env:
  - {name: HIVQ_COORDINATOR, value: {{ include "hivq.address" . | quote }}}
  - {name: HIVQ_KEY, value: /etc/hivq/keys/operator}
volumeMounts:
  - {name: keys, mountPath: /etc/hivq/keys, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end }}
