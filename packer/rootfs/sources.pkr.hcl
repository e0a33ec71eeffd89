# No machine is started: mmdebstrap builds the tree natively.
source "null" "rootfs" {
  communicator = "none"
}
