# No machine is started: mmdebstrap builds the tree natively.
source "null" "rootfs" {
  communicator = "none"
}

# Only asks what a build would install: packer build -only=null.resolve
source "null" "resolve" {
  communicator = "none"
}
