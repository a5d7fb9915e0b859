#!/bin/sh
# install.sh PACKAGE…: Debian packages into an image, leaving nothing behind that differs from one build to the next.
# SNAPSHOT (20261101T000000Z) takes them as Debian had them at that time; without it, as they are now.
set -eu
export DEBIAN_FRONTEND=noninteractive
if [ -n "${SNAPSHOT:-}" ]; then
  rm -f /etc/apt/sources.list.d/* /etc/apt/sources.list
  for part in "debian bookworm" "debian bookworm-updates" "debian-security bookworm-security"; do
    echo "deb [check-valid-until=no] http://snapshot.debian.org/archive/${part% *}/$SNAPSHOT ${part#* } main"
  done >/etc/apt/sources.list
fi
# No manuals, no translations.
printf 'path-exclude /usr/share/%s/*\n' doc info locale man lintian >/etc/dpkg/dpkg.cfg.d/slim
echo 'path-include /usr/share/doc/*/copyright' >>/etc/dpkg/dpkg.cfg.d/slim
apt-get update -q
apt-get upgrade -qy --no-install-recommends
apt-get install -qy --no-install-recommends "$@"
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/* /etc/machine-id /var/lib/dpkg/*-old /var/lib/systemd /etc/*- /root/.cache
