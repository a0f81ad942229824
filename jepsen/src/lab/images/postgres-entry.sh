#!/bin/sh
# PID 1 of the lab's Postgres container until it becomes postgres itself. Options after `postgres` go to the server; any other
# command is run as it is.
set -eu
if [ "${1:-}" != postgres ]; then
    exec "$@"
fi
shift
volume=$(dirname "$PGDATA")
mkdir -p "$volume"
chown 999:999 "$volume"
as_postgres() { chroot --userspec=999:999 --skip-chdir / "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Initialised under another name and renamed when whole and durable: a crash in between leaves no half a database behind.
    rm -rf "$PGDATA.new"
    as_postgres initdb --pgdata "$PGDATA.new" --username postgres --auth trust --encoding UTF8 --locale C.UTF-8
    for net in 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16; do
        echo "host all all $net trust"
        echo "host replication all $net trust"
    done >> "$PGDATA.new/pg_hba.conf"
    sync "$PGDATA.new/pg_hba.conf"
    mv -T "$PGDATA.new" "$PGDATA"
    sync "$volume"
fi
# exec twice, so that postgres is PID 1 and gets the stop signal itself (SIGINT: fast shutdown).
exec chroot --userspec=999:999 --skip-chdir / postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c jit=off "$@"
