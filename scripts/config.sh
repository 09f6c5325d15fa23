# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Settings of all scripts: the one place for versions, packages and folders. Sourced, not run.

# The kernel that the modules are built for and that the guests boot: a release of Debian's, with its flavour. The first
# counts unless the environment names another one; Documentation/testing.md says which work. Each has a sysroot of its own.
KERNEL_RELEASES=$(echo 7.{3.4,2.12}+deb13-{amd64,cloud-amd64,rt-amd64,arm64,arm64-16k,cloud-arm64} \
	7.2.13+deb14-{amd64,cloud-amd64,rt-amd64})
KERNEL_RELEASE=${KERNEL_RELEASE:-${KERNEL_RELEASES%% *}}
KERNEL_SERIES=$(expr "$KERNEL_RELEASE" : '\([0-9]\+\.[0-9]\+\)\..*+.*-' || true)
# The sysroot's suite is the kernel's: rustc must be the one that Debian built it with, since its version is part of every
# Rust symbol's name.
case $KERNEL_RELEASE in
*+deb14-*) SYSROOT_SUITE=sid KERNEL_SUITE=sid KERNEL_GCC=gcc-16 ;;
*) SYSROOT_SUITE=trixie KERNEL_SUITE=trixie-backports KERNEL_GCC=gcc-14 ;;
esac
# The compiler that Debian built it with, and what the kernel's make wants to hear besides.
case $KERNEL_SERIES:$KERNEL_RELEASE in
?*:*-amd64)
	KERNEL_ARCH=amd64
	KERNEL_CC=x86_64-linux-gnu-$KERNEL_GCC
	KERNEL_MAKE=(CC="$KERNEL_CC")
	;;
?*:*-arm64 | ?*:*-arm64-16k)
	KERNEL_ARCH=arm64
	KERNEL_CC=aarch64-linux-gnu-$KERNEL_GCC
	KERNEL_MAKE=(ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC="$KERNEL_CC")
	;;
*)
	echo "KERNEL_RELEASE=$KERNEL_RELEASE is no release of Debian's; say one of: $KERNEL_RELEASES" >&2
	exit 1
	;;
esac
# Debian's cloud kernels have no 9p: what serves the guests' root is another program.
case $KERNEL_RELEASE in
*-cloud-*) SHARE_PACKAGES=virtiofsd ;;
*) SHARE_PACKAGES= ;;
esac
# What compiles the debug kernel of the tests, by the ending of the names of LLVM's tools.
DEBUG_KERNEL_LLVM=-19

KERNEL_PACKAGES="
	linux-headers-$KERNEL_RELEASE linux-binary-$KERNEL_RELEASE linux-modules-$KERNEL_RELEASE
	linux-base-$KERNEL_RELEASE"
if [ $KERNEL_ARCH = amd64 ]; then
	# The guests' root is the sysroot itself.
	QEMU_PACKAGES=qemu-system-x86
	BUILD_PACKAGES=$KERNEL_PACKAGES
	GUEST_PACKAGES=
else
	# They have one of their own, in the sysroot's folder /guest.
	QEMU_PACKAGES=qemu-system-arm
	BUILD_PACKAGES=$KERNEL_GCC-aarch64-linux-gnu
	GUEST_PACKAGES="
		bash coreutils grep sed mawk gzip xz-utils zstd kmod python3 busybox-static base-files base-passwd
		mount util-linux udev procps iproute2 e2fsprogs xfsprogs btrfs-progs fio sg3-utils lsscsi blktrace
		$KERNEL_PACKAGES"
fi
SYSROOT_PACKAGES="
	make $KERNEL_GCC libc6-dev libelf-dev libssl-dev bc bison flex pahole kmod cpio xz-utils zstd perl
	rustc rust-src rustfmt rust-clippy cargo bindgen clang-19 libclang-19-dev lld-19 llvm-19
	python3 python3-pytest python3-matplotlib pyflakes3 shellcheck ca-certificates
	mount util-linux udev procps iproute2 e2fsprogs xfsprogs btrfs-progs fio sg3-utils lsscsi blktrace bpftrace tgt busybox-static
	$QEMU_PACKAGES qemu-utils qemu-block-extra virtme-ng initramfs-tools $BUILD_PACKAGES linux-source-$KERNEL_SERIES
	$SHARE_PACKAGES"

# A back end of vhost-user-scsi that one of the tests runs on, from crates.io.
VHOST_DEVICE_SCSI_VERSION=0.1.0

# Raise a number to throw away what an older recipe made.
SYSROOT_RECIPE=1
KERNEL_RECIPE=2

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

if [ -n "${VSR_INSIDE:-}" ]; then
	cache=/cache
else
	cache=${VSR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/virtio-storage-rs}
fi

# key TEXT...: a short name for these inputs.
key() {
	printf '%s\n' "$@" | sha256sum | cut -c1-12
}

# Word splitting makes the key independent of the list's layout.
# shellcheck disable=SC2086
sysroot_key=$(key "$SYSROOT_RECIPE" "$SYSROOT_SUITE" "$KERNEL_SUITE" $SYSROOT_PACKAGES $GUEST_PACKAGES)
kernel_key=$(key "$KERNEL_RECIPE" "$KERNEL_RELEASE" "$KERNEL_CC" "$sysroot_key")
sysroot_dir=$cache/sysroot-$sysroot_key
kernel_dir=${VSR_KERNEL_DIR:-$cache/kernel-$kernel_key}
# Two clones may share a cache, not a build.
build_dir=$cache/build-$(key "$kernel_key" "$project")
