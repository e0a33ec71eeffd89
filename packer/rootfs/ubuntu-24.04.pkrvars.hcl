os           = "ubuntu-24.04"
suite        = "noble"
components   = "main,universe"
kernel_image = "linux-image-virtual"
