build {
  sources = ["source.null.resolve", "source.null.rootfs"]

  provisioner "shell-local" {
    only = ["null.resolve"]
    environment_vars = [
      "RACKBOX_SUITE=${var.suite}",
      "RACKBOX_PACKAGES=${join(",", distinct(flatten(values(var.packages))))}",
      "RACKBOX_APT_ROOT=${var.apt_root}",
      "RACKBOX_APT_SOURCES=${var.apt_sources}",
      "RACKBOX_OUTPUT=${var.output}",
    ]
    script = "${path.root}/resolve.sh"
  }

  provisioner "shell-local" {
    only = ["null.rootfs"]
    environment_vars = [
      "RACKBOX_OS=${var.os}",
      "RACKBOX_SUITE=${var.suite}",
      "RACKBOX_PACKAGES=${join(",", distinct(flatten(values(var.packages))))}",
      "RACKBOX_DISABLED_UNITS=${join(" ", var.disabled_units)}",
      "RACKBOX_MASKED_UNITS=${join(" ", var.masked_units)}",
      "RACKBOX_APT_ROOT=${var.apt_root}",
      "RACKBOX_OUTPUT=${var.output}",
      "SOURCE_DATE_EPOCH=${var.source_date_epoch}",
    ]
    script = "${path.root}/build-rootfs.sh"
  }

  post-processors {
    post-processor "artifice" {
      only = ["null.rootfs"]
      files = [
        "${var.output}/rootfs.tar.zst",
        "${var.output}/packages.tsv",
        "${var.output}/sources.txt",
        "${var.output}/tools.txt",
      ]
    }
    post-processor "checksum" {
      only           = ["null.rootfs"]
      checksum_types = ["sha256"]
      output         = "${var.output}/SHA256SUMS"
    }
    post-processor "manifest" {
      only   = ["null.rootfs"]
      output = "${var.output}/packer-manifest.json"
    }
  }
}
