#!/usr/bin/env bash
# A Ceph cluster of one node for tests: monitor, manager, one object store on a file, metadata server, one file system. Usage:
#   ceph.sh start FOLDER ADDRESS     everything below FOLDER; monitor at ADDRESS:6789; ends when the cluster answers
#   ceph.sh stop FOLDER              ends the processes it started, by the pids it noted
# Writes FOLDER/ceph.conf and FOLDER/keyring (client.admin). Needs root and Debian's ceph-mon ceph-mgr ceph-osd ceph-mds ceph-fuse.
set -euo pipefail

folder=$2
conf=$folder/ceph.conf
ring=$folder/keyring

c() { ceph -c "$conf" -k "$ring" --connect-timeout 20 "$@"; }

# The daemons stay in the foreground of their own process, so that their pids are ours to end.
run() {
    local name=$1
    shift
    "$@" -f -c "$conf" >"$folder/$name.log" 2>&1 </dev/null &
    echo $! >"$folder/$name.pid"
}

await() {
    local what=$1 n
    shift
    for n in $(seq 120); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.5
    done
    echo "ceph: $what did not come up; see $folder/*.log" >&2
    return 1
}

start() {
    local address=$1 fsid osd
    mkdir -p "$folder"/{mon,mgr,osd,mds,run}
    fsid=$(cat /proc/sys/kernel/random/uuid)
    cat >"$conf" <<CONF
[global]
fsid = $fsid
mon host = v1:$address:6789
public addr = $address
cluster addr = $address
ms bind msgr2 = false
ms mon cluster mode = crc
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $ring
run dir = $folder/run
admin socket = $folder/run/\$name.\$pid.asok
log file = /dev/null
log to file = false
mon cluster log to file = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon allow pool delete = true
osd objectstore = bluestore
bluestore block size = 4294967296
bluestore fsck quick fix on mount = false
osd class update on start = false
osd memory target = 939524096
mds cache memory limit = 67108864
mgr initial modules =
client mount timeout = 20
[mon.a]
mon data = $folder/mon
mon addr = $address:6789
[mgr.a]
mgr data = $folder/mgr
keyring = $folder/mgr/keyring
[osd.0]
osd data = $folder/osd
keyring = $folder/osd/keyring
[mds.a]
mds data = $folder/mds
keyring = $folder/mds/keyring
CONF
    ceph-authtool --create-keyring "$folder/mon.keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
    ceph-authtool --create-keyring "$ring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mds 'allow *' --cap mgr 'allow *' >/dev/null
    ceph-authtool "$folder/mon.keyring" --import-keyring "$ring" >/dev/null
    monmaptool --create --addv a "v1:$address:6789" --fsid "$fsid" "$folder/monmap" >/dev/null
    ceph-mon --mkfs -i a -c "$conf" --monmap "$folder/monmap" --keyring "$folder/mon.keyring"
    run mon ceph-mon -i a
    await monitor c -s
    c auth get-or-create mgr.a mon 'allow profile mgr' osd 'allow *' mds 'allow *' -o "$folder/mgr/keyring"
    run mgr ceph-mgr -i a
    c auth get-or-create osd.0 mon 'allow profile osd' mgr 'allow profile osd' osd 'allow *' -o "$folder/osd/keyring"
    osd=$(cat /proc/sys/kernel/random/uuid)
    c osd new "$osd" 0 >/dev/null
    ceph-osd --mkfs -i 0 -c "$conf" --osd-uuid "$osd" >"$folder/osd-mkfs.log" 2>&1
    run osd ceph-osd -i 0
    c auth get-or-create mds.a mon 'allow profile mds' osd 'allow rwx' mds 'allow *' -o "$folder/mds/keyring"
    run mds ceph-mds -i a
    c osd pool create meta 8 >/dev/null 2>&1
    c osd pool create data 8 >/dev/null 2>&1
    c fs new main meta data >/dev/null 2>&1
    await 'the file system' bash -c "ceph -c '$conf' -k '$ring' fs status main 2>/dev/null | grep -q active"
}

stop() {
    local name pid n
    for name in mds osd mgr mon; do
        [ -f "$folder/$name.pid" ] || continue
        pid=$(cat "$folder/$name.pid")
        kill -9 "$pid" 2>/dev/null || true
        for n in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        rm -f "$folder/$name.pid"
    done
}

case "$1" in
    start) start "$3" ;;
    stop) stop ;;
    *) echo "usage: ceph.sh start FOLDER ADDRESS | stop FOLDER" >&2; exit 2 ;;
esac
