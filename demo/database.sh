#!/bin/sh
# Starts MariaDB on /data, which it makes a database of the first time. Its password comes in DEMO_PASSWORD.
set -eu

data=/data/mariadb
socket=/tmp/mariadb.sock

if [ ! -d "$data/mysql" ]; then
  rm -rf "$data.new"
  mkdir -p "$data.new"
  mariadb-install-db --no-defaults --user=root --datadir="$data.new" --auth-root-authentication-method=normal \
    --skip-test-db >/dev/null
  mv "$data.new" "$data"
fi
# Read at each start: the password may be another one now.
cat >/tmp/init.sql <<SQL
CREATE DATABASE IF NOT EXISTS demo;
CREATE TABLE IF NOT EXISTS demo.entries (
  id BIGINT AUTO_INCREMENT PRIMARY KEY,
  text VARCHAR(200) NOT NULL,
  written TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS demo@'%';
ALTER USER demo@'%' IDENTIFIED BY '$DEMO_PASSWORD';
GRANT ALL ON demo.* TO demo@'%';
SQL
chmod 0600 /tmp/init.sql
# No native AIO: file systems in user space lack it.
exec mariadbd --no-defaults --user=root --datadir="$data" --socket="$socket" --bind-address=0.0.0.0 \
  --init-file=/tmp/init.sql --innodb-use-native-aio=0 --innodb-buffer-pool-size=32M --innodb-log-file-size=16M \
  --performance-schema=0 --max-connections=50
