# What a root file system is made of. The values are in one var file per release, debian-13.pkrvars.hcl,
# and what all share in common.auto.pkrvars.hcl.
# Nothing here needs a Packer plugin, so Packer 1.6 (Debian 12) and current releases read the same files.

variable "os" {
  type        = string
  description = "Name of the release as rackbox knows it, for example debian-13."
}

variable "suite" {
  type        = string
  description = "The archive's name of the release, for example trixie."
}

variable "components" {
  type        = string
  default     = "main"
  description = "The archive's components that packages come from, separated by commas."
}

variable "packages" {
  type        = map(list(string))
  description = "Packages per role. All roles' packages are baked in and switched off."
}

variable "kernel_packages" {
  type        = list(string)
  description = "What a machine with a kernel and a disk of its own needs beside the kernel: initramfs, boot loader, LVM."
}

variable "kernel_image" {
  type        = string
  description = "The release's kernel for virtual machines."
}

variable "own_kernel" {
  type        = bool
  default     = false
  description = "Whether the tree is for virtual machines: it then has kernel_image and kernel_packages, too."
}

variable "kernel_files" {
  type        = string
  default     = ""
  description = "With own_kernel, a directory laid into the tree before anything is installed: fstab, what the initramfs holds."
}

variable "disabled_units" {
  type        = list(string)
  description = "Units that packages switch on by themselves and that a machine's role switches on when it is its turn."
}

variable "masked_units" {
  type        = list(string)
  description = "Units that no lab machine wants."
}

variable "kernel_masked_units" {
  type        = list(string)
  description = "With own_kernel, units that no lab machine wants either."
}

variable "output" {
  type        = string
  description = "Directory for the results; made by the caller."
}

variable "source_date_epoch" {
  type        = string
  description = "Seconds since 1970: the newest time stamp in the tree, so that two builds of the same packages agree."
}

variable "apt_root" {
  type        = string
  default     = ""
  description = "A directory kept between builds: indices and fetched packages. Without one, a build fetches all anew."
}

variable "apt_sources" {
  type        = string
  default     = ""
  description = "A .list or .sources file (sources.list(5)) to be used beside what mmdebstrap chooses; needs apt_root."
}

variable "in_memory" {
  type        = bool
  default     = false
  description = "Make the tree in memory (a tmpfs). Only inside a mount namespace of the build's own: that is what ends it."
}
