#!/usr/bin/env bash
# collect.sh BIN OUT PROGRAM…: the programs of the folder BIN, and the libraries that they have from no Debian package, as they
# are to lie in an image: OUT/opt/hivq/{bin,lib}; with hivq-worker the backbone's weights, too (OUT/opt/hivq/weights).
set -euo pipefail
bin=$1 out=$2/opt/hivq; shift 2
deps=${HIVQ_DEPS_DIR:-$(dirname "$0")/../../.deps}
mkdir -p "$out/bin" "$out/lib"
for program; do
  install -m 755 "$bin/$program" "$out/bin/$program"
  missing=$(ldd "$bin/$program" | grep 'not found' || true)
  [ -z "$missing" ] || { echo "collect: $program lacks: $missing" >&2; exit 1; }
  ldd "$bin/$program" | awk '$3 ~ /^\// && $3 !~ /^\/(usr\/)?lib\//{print $3}' | while read -r library; do
    [ -e "$out/lib/$(basename "$library")" ] || install -m 644 "$library" "$out/lib/"
  done
  patchelf --set-rpath '$ORIGIN/../lib:/usr/lib/x86_64-linux-gnu/openmpi/lib' "$out/bin/$program"
  strip --strip-unneeded "$out/bin/$program"
done
# What a CUDA build loads by name while it runs: parts of cuDNN, the run-time compiler.
if [ -e "$out/lib/libtorch_cuda.so" ]; then
  find "$deps/torch/nvidia" -name '*.so*' -path '*/lib/*' -type f -exec install -m 644 -t "$out/lib" {} +
fi
if [ -e "$out/bin/hivq-worker" ]; then
  mkdir -p "$out/weights"
  install -m 644 "$deps"/weights/* "$out/weights/"
fi
