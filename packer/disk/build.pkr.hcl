build {
  sources = ["source.null.disk"]

  provisioner "shell-local" {
    environment_vars = [
      "RACKBOX_ROOTFS=${var.rootfs}",
      "RACKBOX_RENDERED=${var.rendered}",
      "RACKBOX_OUTPUT=${var.output}",
      "RACKBOX_ACCELERATOR=${var.accelerator}",
      "SOURCE_DATE_EPOCH=${var.source_date_epoch}",
    ]
    script = "${path.root}/build-disk.sh"
  }

  post-processors {
    post-processor "artifice" {
      files = [
        "${var.output}/disk.qcow2",
        "${var.output}/lvm.json",
      ]
    }
    post-processor "checksum" {
      checksum_types = ["sha256"]
      output         = "${var.output}/SHA256SUMS"
    }
    post-processor "manifest" {
      output = "${var.output}/packer-manifest.json"
    }
  }
}
