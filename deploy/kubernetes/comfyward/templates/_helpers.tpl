{{- define "comfyward.labels" -}}
app.kubernetes.io/name: comfyward
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "comfyward.selector" -}}
app.kubernetes.io/name: comfyward
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "comfyward.secret" -}}
{{ .Values.secret.existing | default (printf "%s-secret" .Release.Name) }}
{{- end -}}

{{- define "comfyward.url" -}}
http://{{ .Release.Name }}-server:{{ .Values.service.port }}
{{- end -}}

{{- /* Settings of the database and object store, for the servers and the migrations job. */ -}}
{{- define "comfyward.serverEnv" -}}
- {name: COMFYWARD_DATABASE_URL, valueFrom: {secretKeyRef: {name: {{ include "comfyward.secret" . }}, key: database-url}}}
- {name: COMFYWARD_OBJECTS_URL, value: {{ required "objects.url is needed: s3://bucket/prefix" .Values.objects.url | quote }}}
{{- with .Values.objects.endpoint }}
- {name: COMFYWARD_OBJECTS_ENDPOINT, value: {{ . | quote }}}
{{- end }}
- {name: COMFYWARD_OBJECTS_DIRECT, value: {{ .Values.objects.direct | quote }}}
- {name: AWS_REGION, value: {{ .Values.objects.region | quote }}}
- {name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: {{ include "comfyward.secret" . }}, key: access-key-id, optional: true}}}
- {name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: {{ include "comfyward.secret" . }}, key: secret-access-key, optional: true}}}
- {name: COMFYWARD_FLEET, value: none}
- {name: COMFYWARD_PUBLIC_URL, value: {{ required "publicUrl is needed: how clients reach the servers" .Values.publicUrl | quote }}}
{{- with .Values.editorUrl }}
- {name: COMFYWARD_EDITOR_URL, value: {{ . | quote }}}
{{- end }}
- {name: COMFYWARD_DRAIN_DELAY_S, value: {{ .Values.servers.drainDelaySeconds | quote }}}
- {name: COMFYWARD_CONNECTIONS_PER_ADDRESS, value: "0"}
{{- range $name, $value := .Values.servers.settings }}
- {name: COMFYWARD_{{ upper $name }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}}
{{- end }}
{{- end -}}

{{/* ComfyUI, environments and, beside them so that packages can be hard links, uv's cache. */}}
{{- define "comfyward.environmentsEnv" -}}
- {name: COMFYWARD_ENVIRONMENTS_DIR, value: /environments}
- {name: UV_CACHE_DIR, value: /environments/cache}
{{- end -}}

{{- define "comfyward.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end -}}
