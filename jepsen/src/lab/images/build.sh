# Builds a container image archive (for `docker load`) from Debian packages. Run by lab/image.rs as
#   sh -eu -c THIS build KIND TAG WORKDIR
# with WORKDIR/entry.sh in place; writes WORKDIR/image.tar and nothing outside WORKDIR.
# Packages are unpacked, not installed: no maintainer script runs, nothing is fsynced, and what only those scripts need stays out.
kind=$1 tag=$2 work=$3
cd "$work"
umask 022
mkdir -p debs/partial root

# An empty package database makes apt resolve the full closure; everything it writes is under WORKDIR.
: > status
apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Debug::NoLocking=true -o Dir::State::status="$work/status" \
        -o Dir::Cache::archives="$work/debs" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Install-Recommends=false -o APT::Sandbox::User=root "$@"
}
download() {
    apt --download-only install "$@" > apt.out 2>&1 && return
    # The machine's package lists are missing or older than the archive: fetch fresh ones, for this build only.
    mkdir -p lists/partial
    apt -o Dir::State::lists="$work/lists" update > apt.out 2>&1 || { cat apt.out >&2; return 1; }
    apt -o Dir::State::lists="$work/lists" --download-only install "$@" > apt.out 2>&1 || { cat apt.out >&2; return 1; }
}
unpack() {
    dpkg-deb --fsys-tarfile "$1" | tar -C root -x --keep-directory-symlink --no-same-owner \
        --exclude './usr/share/doc*' --exclude './usr/share/man*' --exclude './usr/share/locale*' \
        --exclude './usr/share/info*' --exclude './usr/share/lintian*' --exclude '*/bitcode*' --exclude '*/llvmjit*' --exclude '*/pgxs*'
}
sha() { sha256sum "$1" | cut -d' ' -f1; }

# Writes the archive: one layer, a config, a manifest. $1 is the inner `config` object.
# The date is fixed, so that the same packages give the same image id.
pack() {
    tar -C root -c --sort=name --numeric-owner --owner=0 --group=0 -f layer.tar .
    case $(dpkg --print-architecture) in amd64) arch=amd64 ;; arm64) arch=arm64 ;; *) arch=$(dpkg --print-architecture) ;; esac
    printf '{"architecture":"%s","os":"linux","created":"2020-01-01T00:00:00Z","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"2020-01-01T00:00:00Z"}]}' \
        "$arch" "$1" "$(sha layer.tar)" > config.json
    config=$(sha config.json).json
    mv config.json "$config"
    printf '[{"Config":"%s","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config" "$tag" > manifest.json
    tar -c -f image.tar manifest.json "$config" layer.tar
}

users() {
    mkdir -p root/etc root/tmp root/var root/run
    chmod 1777 root/tmp
    [ -e root/var/run ] || ln -s /run root/var/run
    printf 'root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999:postgres:/var/lib/postgresql:/bin/sh\n' > root/etc/passwd
    printf 'root:x:0:\npostgres:x:999:\n' > root/etc/group
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' > root/etc/nsswitch.conf
}

case $kind in
postgres)
    download postgresql-15 bash coreutils grep sed
    for dir in bin sbin lib lib64; do
        mkdir -p root/usr/$dir
        ln -s usr/$dir root/$dir
    done
    for deb in debs/*.deb; do
        # Needed by maintainer scripts, wrappers and the JIT only.
        case ${deb#debs/} in
        libllvm* | libz3* | *perl* | postgresql-common_* | postgresql-client-common_* | locales_* | libc-l10n_* | ssl-cert_* | openssl_* | dpkg_* | \
            adduser_* | debconf_* | usrmerge_* | ucf_* | passwd_* | libdb5* | libgdbm* | libsemanage* | libsepol* | netbase_* | init-system* | \
            sysvinit-utils_* | lsb-base_* | tar_* | gcc-*-base_* | mawk_* | sensible-utils_*) continue ;;
        esac
        unpack "$deb"
    done
    users
    [ -e root/usr/bin/sh ] || ln -s bash root/usr/bin/sh
    ldconfig -r root
    bin=usr/lib/postgresql/15/bin
    for program in postgres initdb psql pg_isready pg_ctl pg_basebackup pg_dump pg_rewind; do
        lost=$(LD_LIBRARY_PATH='' chroot root /usr/bin/ldd "/$bin/$program" | grep 'not found' || true)
        [ -z "$lost" ] || { echo "$program lacks libraries: $lost" >&2; exit 1; }
    done
    mkdir -p root/usr/local/bin
    cp entry.sh root/usr/local/bin/postgres-entry
    chmod 755 root/usr/local/bin/postgres-entry
    pack '{"Entrypoint":["/usr/local/bin/postgres-entry"],"Cmd":["postgres"],"StopSignal":"SIGINT","ExposedPorts":{"5432/tcp":{}},"WorkingDir":"/","Env":["PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin","LANG=C.UTF-8","PGHOST=/tmp","PGUSER=postgres","PGDATA=/var/lib/postgresql/data/pgdata"]}'
    ;;
busybox)
    download busybox-static
    mkdir -p all
    for deb in debs/busybox-static_*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -C all -x; done
    mkdir -p root/bin
    cp all/bin/busybox root/bin/busybox 2> /dev/null || cp all/usr/bin/busybox root/bin/busybox
    chmod 755 root/bin/busybox
    for applet in $(root/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "root/bin/$applet"
    done
    users
    pack '{"Cmd":["/bin/sh"],"WorkingDir":"/","Env":["PATH=/bin"]}'
    ;;
esac
