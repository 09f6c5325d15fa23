# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Settings of all scripts: the one place for versions, packages and folders. Sourced, not run.

# The kernel that the modules are built for and that the guests boot: Debian's package version and its series.
KERNEL_VERSION=7.3.4+deb13-amd64
KERNEL_SERIES=7.3
KERNEL_SUITE=trixie-backports
# The compiler that Debian built this kernel with.
KERNEL_CC=x86_64-linux-gnu-gcc-14
# What compiles the debug kernel of the tests, by the ending of the names of LLVM's tools.
DEBUG_KERNEL_LLVM=-19

# The sysroot: rustc must be the suite's own, since its version is part of every Rust symbol's name.
SYSROOT_SUITE=trixie
SYSROOT_PACKAGES="
	make gcc-14 libc6-dev libelf-dev libssl-dev bc bison flex pahole kmod cpio xz-utils zstd perl
	rustc rust-src rustfmt rust-clippy cargo bindgen clang-19 libclang-19-dev lld-19 llvm-19
	python3 python3-pytest python3-matplotlib pyflakes3 shellcheck ca-certificates
	mount util-linux udev procps iproute2 e2fsprogs xfsprogs btrfs-progs fio sg3-utils lsscsi blktrace tgt busybox-static
	qemu-system-x86 qemu-utils qemu-block-extra virtme-ng initramfs-tools
	linux-headers-$KERNEL_VERSION linux-binary-$KERNEL_VERSION linux-modules-$KERNEL_VERSION
	linux-base-$KERNEL_VERSION linux-source-$KERNEL_SERIES"

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
sysroot_key=$(key "$SYSROOT_RECIPE" "$SYSROOT_SUITE" "$KERNEL_SUITE" $SYSROOT_PACKAGES)
kernel_key=$(key "$KERNEL_RECIPE" "$KERNEL_VERSION" "$KERNEL_CC" "$sysroot_key")
sysroot_dir=$cache/sysroot-$sysroot_key
kernel_dir=${VSR_KERNEL_DIR:-$cache/kernel-$kernel_key}
# Two clones may share a cache, not a build.
build_dir=$cache/build-$(key "$kernel_key" "$project")
