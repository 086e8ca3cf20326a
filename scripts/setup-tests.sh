#!/usr/bin/env bash
# Provides what the tests run against: git, a C compiler for the race detector,
# a registry, an SSH server, GnuPG, a container engine and a static busybox. On Debian
# as root it installs what is missing; anywhere else it names it and fails. It starts
# no service.
set -euo pipefail

# sshd is not on everybody's PATH.
PATH=$PATH:/usr/sbin:/sbin

have() { command -v "$1" >/dev/null 2>&1; }

# A compiler without the C library's headers compiles nothing.
have_c() { have gcc && echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1; }

# The busybox that goes into test images must run in an empty root.
have_static_busybox() {
	have busybox && ! LC_ALL=C ldd "$(command -v busybox)" 2>/dev/null | grep -q '=>'
}

# missing prints the Debian packages that are not there.
missing() {
	have git || echo git
	have_c || echo gcc libc6-dev
	have docker-registry || echo docker-registry
	have sshd || echo openssh-server
	have ssh && have ssh-keygen || echo openssh-client
	have gpg && have gpgconf && have gpg-agent || echo gpg gpgconf gpg-agent
	have_static_busybox || echo busybox-static
	have dockerd && have containerd && have docker || echo docker.io
	have iptables || echo iptables
	have ip || echo iproute2
}

# install_packages keeps apt from starting the registry and the SSH server, which would
# listen on all addresses, and the engine, which would change the firewall: the tests
# start their own, on loopback and in namespaces.
install_packages() {
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 0755 "$policy"
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get -o DPkg::Lock::Timeout=300 update -qq
	apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >/dev/null
}

packages=$(missing | xargs)
if [ -n "$packages" ]; then
	if [ "$(id -u)" != 0 ] || ! have apt-get; then
		echo "setup-tests: missing Debian packages: $packages" >&2
		echo "setup-tests: install them, or run this as root on Debian" >&2
		exit 1
	fi
	echo "setup-tests: installing $packages" >&2
	# shellcheck disable=SC2086 # a list of names
	install_packages $packages
	packages=$(missing | xargs)
	if [ -n "$packages" ]; then
		echo "setup-tests: installed, and yet not usable: $packages" >&2
		exit 1
	fi
fi

# sshd refuses to start as root without the directory that its service makes.
if [ "$(id -u)" = 0 ]; then
	install -d -m 0755 /run/sshd
fi
