#!/usr/bin/env bash
# Installs what building, testing and using seqmill needs on Debian 12, and nothing that is already there.
set -euo pipefail
export LC_ALL=C.UTF-8

usage() {
  cat <<'END'
Usage: scripts/setup.sh [--quickstart] [--bench] [--check]

Installs the Debian packages that seqmill needs and that are missing, and makes the OpenMP build of OpenBLAS the
system's BLAS. Does nothing, at once, when all is in place. Uses sudo when not run as root.

  --quickstart  also what scripts/quickstart.sh reads: libreoffice-l10n-de (German-English text)
  --bench       also what scripts/bench.sh compares with and runs: python3-torch, python3-sentencepiece, the other OpenBLAS, mpirun
  --check       install nothing; print what is missing and exit 1 if anything is
  -h, --help    this text
END
}

packages=(
  g++ clang cmake ninja-build ccache mold pkg-config git python3 python3-numpy
  libtorch-dev libgloo-dev libopenblas0-openmp libdnnl-dev
  libsentencepiece-dev libcli11-dev libfmt-dev libyaml-cpp-dev nlohmann-json3-dev zlib1g-dev libicu-dev libpcre2-dev
  catch2 gettext
)
check=false
for argument in "$@"; do
  case $argument in
    --quickstart) packages+=(libreoffice-l10n-de) ;;
    --bench) packages+=(python3-torch python3-sentencepiece libopenblas0-pthread openmpi-bin) ;;
    --check) check=true ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup.sh: unknown option '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

say() { echo "setup.sh: $*" >&2; }
die() { say "$*"; exit 1; }

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "this is not a Debian system. Install the equivalents of these packages by other means, then build with"
  say "  cmake --preset release && cmake --build --preset release"
  die "packages: ${packages[*]}"
fi

missing=()
installed=" $({ dpkg-query -W -f='${db:Status-Status}:${Package}\n' "${packages[@]}" 2>/dev/null || true; } |
  sed -n 's/^installed://p' | tr '\n' ' ') "
for package in "${packages[@]}"; do
  [[ $installed == *" $package "* ]] || missing+=("$package")
done

# LibTorch's threads and those of OpenBLAS's default (pthread) build spin against each other: training with two threads is then
# slower than with one. All three names are used by LibTorch. A BLAS that somebody chose by hand, other than these two, stays.
alternatives=()
select_blas() {  # fills `alternatives` with "link path" pairs that have to change
  local name status value wanted
  alternatives=()
  while read -r name status value; do
    case $name in libblas.so.3-* | liblapack.so.3-* | libopenblas.so.0-*) ;; *) continue ;; esac
    [[ $value == */openblas-openmp/* ]] && continue
    wanted=$(update-alternatives --list "$name" | grep -m 1 '/openblas-openmp/' || true)
    [[ -n $wanted ]] || continue
    if [[ $status == manual && $value != */openblas-pthread/* && $value != */openblas-serial/* ]]; then
      say "note: ${name%%-*} was set by hand to $value and is left so"
      continue
    fi
    alternatives+=("$name" "$wanted")
  done < <(update-alternatives --get-selections)
}
select_blas

if $check; then
  if ((${#missing[@]})); then say "missing packages: ${missing[*]}"; fi
  if ((${#alternatives[@]})); then say "the OpenMP build of OpenBLAS is not the system's BLAS"; fi
  ((${#missing[@]} + ${#alternatives[@]} == 0))
  exit
fi
((${#missing[@]} + ${#alternatives[@]})) || exit 0

root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    ((${#missing[@]})) && say "missing packages: ${missing[*]}"
    die "neither root nor sudo: ask the administrator to run scripts/setup.sh as root"
  fi
  root=(sudo)
fi

if ((${#missing[@]})); then
  say "installing: ${missing[*]}"
  apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
  install=("${apt[@]}" install --no-install-recommends "${missing[@]}")
  # The package lists at hand may be absent or old; they are fetched only when the installation fails without that.
  if ! "${install[@]}" >&2; then
    say "that failed; repairing an interrupted installation if there is one, fetching the package lists and trying again"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive dpkg --configure -a >&2 || true
    if ! "${apt[@]}" -o APT::Update::Error-Mode=any update >&2; then
      die "cannot fetch Debian's package lists (no network?). Still missing: ${missing[*]}"
    fi
    "${install[@]}" >&2 || die "apt-get could not install: ${missing[*]} (its messages are above)"
  fi
  select_blas
fi

for ((i = 0; i < ${#alternatives[@]}; i += 2)); do
  say "BLAS: ${alternatives[i]} is now ${alternatives[i + 1]}"
  "${root[@]}" update-alternatives --quiet --set "${alternatives[i]}" "${alternatives[i + 1]}"
done
