#!/usr/bin/python
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Thin door to the builders of images."""

from __future__ import annotations

DOCUMENTATION = r"""
module: guest_image
short_description: Build an image that guests boot
version_added: 0.1.0
author:
  - The Benito developers (@benito)
description:
  - Builds an image on the host. V(tiny) is a kernel and an initramfs made from Debian packages, which boots a guest of 100 MB in seconds.
    V(debian) is a whole Debian of the host's release, with systemd, OpenSSH, Python and apt, on a disk that guests share and write past.
  - The packages are fetched with the host's own apt, from its mirrors, through its proxies and checked by its signatures. Nothing is
    installed on the host.
  - Images are kept by content. While neither the recipe nor the guest files change, the image that is there is used, without network.
options:
  name:
    description: The image.
    type: str
    choices: [tiny, debian]
    default: tiny
  cache:
    description: Directory on the host where images are kept.
    type: path
    default: /var/cache/benito/images
  guest_files:
    description:
      - The files that go into a guest, C(init), C(benito-agent) and their kin, each by its name. They are those of the role
        P(benito.testbed.qemu_guest#role), below C(files/guest).
    type: dict
    required: true
  state:
    description: Whether the image for these guest files should be there.
    type: str
    choices: [present, absent]
    default: present
  refresh:
    description: Ask apt for newer packages, and build a new image when there are any. Run C(apt-get update) before.
    type: bool
    default: false
requirements:
  - A Debian host (amd64) with apt
  - For V(debian) the host's packages C(mmdebstrap) and C(e2fsprogs), and 3 GB of space while it is built
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: partial
    details: With O(refresh=true) check mode does not ask apt, and reports that nothing would change while an image is there.
  diff_mode:
    support: full
  platform:
    platforms: debian
    support: full
"""

EXAMPLES = r"""
- name: Build the image
  benito.testbed.guest_image:
    guest_files: "{{ dict(paths | map('basename') | zip(query('ansible.builtin.file', *paths, rstrip=false))) }}"
  vars: &files
    paths: "{{ query('ansible.builtin.fileglob', 'roles/qemu_guest/files/guest/*') }}"
  register: image

- name: Build the image that is a whole Debian
  benito.testbed.guest_image:
    name: debian
    guest_files: "{{ dict(paths | map('basename') | zip(query('ansible.builtin.file', *paths, rstrip=false))) }}"
  vars: *files
  register: image

- name: Build it again when Debian has newer packages
  benito.testbed.guest_image:
    guest_files: "{{ dict(paths | map('basename') | zip(query('ansible.builtin.file', *paths, rstrip=false))) }}"
    refresh: true
  vars: *files
"""

RETURN = r"""
path:
  description: Directory of the image.
  returned: success
  type: str
  sample: /var/cache/benito/images/tiny-0123456789ab
kernel:
  description: The kernel, an ELF file.
  returned: success
  type: str
  sample: /var/cache/benito/images/tiny-0123456789ab/vmlinux
disk:
  description: The disk of the root file system, which guests only read; empty where the image is all in its initramfs.
  returned: success
  type: str
  sample: /var/cache/benito/images/debian-0123456789ab/disk.img
initrd:
  description: The initramfs.
  returned: success
  type: str
  sample: /var/cache/benito/images/tiny-0123456789ab/initramfs
key:
  description: Names the recipe, the packages' names and the guest files.
  returned: success
  type: str
  sample: 0123456789ab
arguments:
  description: What belongs on the kernel's command line.
  returned: success
  type: str
release:
  description: The kernel's release.
  returned: when the image is there
  type: str
  sample: 6.1.0-56-amd64
packages:
  description: What the image is made of.
  returned: when the image is there
  type: list
  elements: dict
  contains:
    name:
      description: Name of the package.
      type: str
    version:
      description: Its version.
      type: str
    sha256:
      description: Sum of the package file.
      type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.benito.testbed.plugins.module_utils import debian_image, image_store, tiny_image
from ansible_collections.benito.testbed.plugins.module_utils.debian_packages import PackageError

BUILDERS = {"tiny": tiny_image, "debian": debian_image}


def listing(image: image_store.Image | None) -> str:
    """Return the image as the diff shows it: one line per package."""
    if image is None:
        return ""
    return f"{image.path}\n" + "".join(f"{package['name']} {package['version']}\n" for package in image.packages)


def run(module: AnsibleModule) -> dict[str, Any]:
    """Bring the image into the wanted state; return the module's result."""
    name, cache = module.params["name"], Path(module.params["cache"])
    builder = BUILDERS[name]
    present = module.params["state"] == "present"
    guest_files = builder.take_files(module.params["guest_files"])
    key = builder.recipe_key(guest_files)
    before = after = image_store.find(cache, name, key)
    if module.check_mode:
        changed = (before is None) if present else (before is not None)
        after = before if present else None
    elif present:
        after, changed = builder.ensure(cache, guest_files, module.params["refresh"])
    else:
        after, changed = None, image_store.remove(cache, name, key)
    path = cache / f"{name}-{key}"
    result: dict[str, Any] = {
        "changed": changed,
        "path": str(path),
        "kernel": str(path / "vmlinux"),
        "initrd": str(path / "initramfs"),
        "disk": str(path / image_store.DISK) if builder.HAS_DISK else "",
        "arguments": builder.ARGUMENTS,
        "key": key,
        "diff": {"before": listing(before), "after": f"{path}\n" if changed and present and after is None else listing(after)},
    }
    if after:
        result.update(arguments=after.arguments, release=after.release, packages=after.packages)
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "choices": ["tiny", "debian"], "default": "tiny"},
            "cache": {"type": "path", "default": "/var/cache/benito/images"},
            "guest_files": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "refresh": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except PackageError as error:
        module.fail_json(msg=str(error))
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
