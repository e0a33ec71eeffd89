os           = "ubuntu-26.04"
suite        = "resolute"
components   = "main,universe"
kernel_image = "linux-image-virtual"
