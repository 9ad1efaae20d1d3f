#!/usr/bin/env bash
# See to the system libraries that a Qt window needs, and to Xvfb. Does nothing where there is no apt.
# Installs what is missing where it may (as root, or with sudo that asks for no password); otherwise prints the line
# to run and stops with status 1.
set -euo pipefail

packages=(
    xvfb libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0
    libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-sync1 libxcb-xfixes0 libxcb-xinerama0
    libxcb-xkb1 libdbus-1-3 libglib2.0-0 libfontconfig1 fonts-dejavu-core
    strace  # by which make test-all makes writing fail, and sees who listens
)

command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || exit 0

# Debian keeps the means of making virtual environments in a package of its own
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)

# A package may be there under a later name, such as libglib2.0-0t64, that provides the earlier one.
present=$(dpkg-query -W -f='${db:Status-Status} ${Package}, ${Provides}\n' | sed -n 's/^installed //p' |
    tr ',' '\n' | sed -E 's/[[:space:]]*\(.*//; s/^[[:space:]]+//; s/[[:space:]]+$//')
missing=()
for package in "${packages[@]}"; do
    grep -qxF "$package" <<<"$present" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n env)
else
    echo "These system packages are missing. Run this line, then the command again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "Installing system packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
