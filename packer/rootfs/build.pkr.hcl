locals {
  kernel       = var.own_kernel ? concat([var.kernel_image], var.kernel_packages) : []
  packages     = distinct(concat(flatten(values(var.packages)), local.kernel))
  masked_units = concat(var.masked_units, var.own_kernel ? var.kernel_masked_units : [])
}

build {
  sources = ["source.null.resolve", "source.null.rootfs"]

  provisioner "shell-local" {
    only = ["null.resolve"]
    environment_vars = [
      "RACKBOX_SUITE=${var.suite}",
      "RACKBOX_COMPONENTS=${var.components}",
      "RACKBOX_PACKAGES=${join(",", local.packages)}",
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
      "RACKBOX_COMPONENTS=${var.components}",
      "RACKBOX_PACKAGES=${join(",", local.packages)}",
      "RACKBOX_DISABLED_UNITS=${join(" ", var.disabled_units)}",
      "RACKBOX_MASKED_UNITS=${join(" ", local.masked_units)}",
      "RACKBOX_KERNEL_FILES=${var.kernel_files}",
      "RACKBOX_IN_MEMORY=${var.in_memory}",
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
