# SPDX-License-Identifier: GPL-2.0
# For people; the module build itself is in Kbuild. Tools come from the sysroot that scripts/sysroot makes, unless
# KDIR names a kernel build tree: then they are this machine's own.

DRIVER ?= rs
RUSTC ?= rustc
KERNEL ?= stock
export DRIVER KERNEL

enter := scripts/enter

.DEFAULT_GOAL := modules
.PHONY: modules deb install uninstall tree vm demo test test-full hosts upstream-series bench check mutate fuzz clean distclean help

ifdef KDIR
modules:
	@scripts/check-kdir '$(KDIR)' '$(RUSTC)'
	$(MAKE) -C '$(KDIR)' M='$(CURDIR)' MO="$$(scripts/build-dir '$(KDIR)')" RUSTC='$(RUSTC)' modules
	@echo "The modules are in $$(scripts/build-dir '$(KDIR)')"

# Guests boot that kernel.
guest := kernel=$$(scripts/kdir-kernel '$(KDIR)') && KERNEL=$$kernel $(enter)
else
modules: tree
	$(enter) scripts/build
	@echo "The modules are in $$(scripts/build-dir)"

guest := $(enter)
endif

# DESTDIR, KVER, MODULES, SIGN_KEY, SIGN_CERT and SIGN_FILE reach the script by the environment. Nothing is built here: that
# is for an ordinary user, this for root.
install:
	@folder=$$(scripts/build-dir $(KDIR)) && scripts/install "$$folder"/virtio_blk.ko "$$folder"/virtio_scsi.ko

uninstall:
	@scripts/install --uninstall

# The Debian packages.
deb: modules
	@$(enter) scripts/deb >/dev/null
	@echo "The packages:"; ls "$$(scripts/build-dir)"/packages/*.deb

tree:
	@scripts/kernel-tree

vm: modules
	$(guest) scripts/vm $(ARGS)

demo bench: modules
	$(enter) scripts/$@ $(ARGS)

test: modules
	$(guest) tests/run $(ARGS)

# All of it has the patch series compiled, too; a failure there keeps no guest from its test.
test-full: modules
	@series=0; $(if $(strip $(ARGS)),,scripts/upstream-series || series=1;) \
		$(enter) tests/run --full $(ARGS) && exit $$series

hosts: modules
	$(enter) scripts/hosts $(ARGS)

upstream-series:
	scripts/upstream-series $(ARGS)

check: modules
	scripts/check $(ARGS)

mutate: modules
	$(enter) scripts/mutate $(ARGS)

fuzz: modules
	$(enter) scripts/fuzz $(ARGS)

clean distclean:
	scripts/clean $@ $(KDIR)

help:
	@sed -n 's/^#: //p' $(firstword $(MAKEFILE_LIST))
	@env -u KERNEL_RELEASE bash -c '. scripts/config.sh; echo; echo Kernels for KERNEL_RELEASE=, the first without it:; fmt -w 120 <<<"$$KERNEL_RELEASES"'

#: make               build the modules for the stock kernel (the first time it makes its own toolchain: 7 minutes)
#: make KDIR=DIR      build them for the kernel build tree DIR, with this machine's tools; vm, test: guests that boot that kernel
#: make install       install what was built, here or into DESTDIR=ROOT; KVER=, MODULES=, SIGN_KEY=, SIGN_CERT=; make uninstall
#: make deb           Debian packages of the modules; README says how to install them
#: make vm            a shell in a guest that has the modules and a scratch disk of each
#: make demo          boot, verify a file system's files in each mode, show a table
#: make test          all tests in guests; make test-full: more rounds, and what takes longer (Documentation/testing.md)
#: make hosts         every back end with every driver: the table of Documentation/hosts.md
#: make bench         compare C, request mode, bio mode and SCSI
#: make check         formatting, lints, documentation, unit tests, scripts
#: make upstream-series   the patches for the kernel, each applied, compiled and checked; ARGS=FOLDER
#: make mutate        plant bugs, one at a time, and see whether the tests notice
#: make fuzz          a minute of devices of each driver that lie, in user space; ARGS='--minutes 60', ARGS=--coverage
#: make clean         remove what was built; distclean: the whole cache too
#: DRIVER=c           with vm, demo, test: the kernel's own C driver
#: KERNEL_RELEASE=V   build for and boot another kernel of Debian's, one of those below (README has which work)
#: KERNEL=debug       with test: a kernel with KASAN, lockdep and the like; compiled first, which takes long
#: KERNEL=kcsan       the same with KCSAN, which looks for data races
#: ARGS=...           more arguments for the script behind demo, test, hosts, bench, check, mutate, fuzz, upstream-series
#: PARAMS=, CPUS=, MEMORY=   with vm: parameters of virtio_blk, CPUs, memory (PARAMS=use_bio=1 CPUS=4 MEMORY=2G)
#: VSR_CACHE=DIR      where all generated files live (~/.cache/virtio-storage-rs)
#: VSR_MIRROR=URL     the Debian archive to take packages from
