os           = "debian-12"
suite        = "bookworm"
kernel_image = "linux-image-cloud-amd64"
