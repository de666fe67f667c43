#!/bin/sh
# What people type. $1 is the API's base address.
set -eu
ask() { path=$1; shift; curl -sS --fail-with-body -H 'Content-Type: application/json' "$base/$path" "$@"; }
has() { case "$1" in *"$2"*) ;; *) echo "expected $2 in: $1"; exit 1 ;; esac; }
base=$1
has "$(ask models)" '"id":"random"'
has "$(ask chat/completions -d '{"model":"random","messages":[{"role":"user","content":"Hi"}],"max_tokens":4}')" '"finish_reason":"'
stream=$(ask chat/completions -N -d '{"model":"random","messages":[{"role":"user","content":"Hi"}],"max_tokens":4,"stream":true}')
has "$stream" 'data: {"id":"chatcmpl-'
has "$stream" 'data: [DONE]'
has "$(ask chat/completions -d '{"model":"random","messages":[{"role":"user","content":"Hi"}],"max_tokens":200,"tools":[{"type":"function","function":{"name":"time","parameters":{"type":"object","properties":{}}}}],"tool_choice":"required"}')" '"tool_calls":[{"id":"call_'
has "$(ask chat/completions -d '{"model":"random","messages":[{"role":"user","content":"Hi"}],"max_tokens":200,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":{"a":{"const":1}},"required":["a"]}}}}')" '\"a\":'
has "$(ask chat/completions -d '{"model":"random","messages":[{"role":"user","content":"Hi"}],"max_tokens":2,"logprobs":true}')" '"logprobs":{"content":[{"token":'
has "$(ask completions -d '{"model":"random","prompt":"The deep sea","max_tokens":0,"echo":true,"logprobs":1}')" '"text":"The deep sea"'
has "$(ask chat/completions -d '{"model":"random"}' || true)" '"param":"messages"'
echo ok
