# What a disk is made of: a tree (packer/rootfs with own_kernel) and what rackbox/layout.py makes of layout.yaml.
# Nothing here needs a Packer plugin, so Packer 1.6 (Debian 12) and current releases read the same files.

variable "rootfs" {
  type        = string
  description = "The tree: a rootfs.tar.zst that has a kernel."
}

variable "rendered" {
  type        = string
  description = "Directory with the files that were made of layout.yaml."
}

variable "output" {
  type        = string
  description = "Directory for the results; made by the caller."
}

variable "accelerator" {
  type        = string
  default     = "tcg,thread=multi"
  description = "QEMU's -accel for the machine that lays the disk out: emulation, or kvm where it is known to work."
}

variable "source_date_epoch" {
  type        = string
  description = "Seconds since 1970: what the file systems take for the time that they were made at."
}
