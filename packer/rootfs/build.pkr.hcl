build {
  sources = ["source.null.rootfs"]

  provisioner "shell-local" {
    environment_vars = [
      "RACKBOX_OS=${var.os}",
      "RACKBOX_SUITE=${var.suite}",
      "RACKBOX_PACKAGES=${join(",", distinct(flatten(values(var.packages))))}",
      "RACKBOX_DISABLED_UNITS=${join(" ", var.disabled_units)}",
      "RACKBOX_MASKED_UNITS=${join(" ", var.masked_units)}",
      "RACKBOX_OUTPUT=${var.output}",
      "SOURCE_DATE_EPOCH=${var.source_date_epoch}",
    ]
    script = "${path.root}/build-rootfs.sh"
  }

  post-processors {
    post-processor "artifice" {
      files = [
        "${var.output}/rootfs.tar.zst",
        "${var.output}/packages.tsv",
        "${var.output}/sources.txt",
        "${var.output}/tools.txt",
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
