# The machine that lays the disk out is started by the script: it needs no installer, no network and no login.
source "null" "disk" {
  communicator = "none"
}
