os           = "debian-13"
suite        = "trixie"
kernel_image = "linux-image-cloud-amd64"
