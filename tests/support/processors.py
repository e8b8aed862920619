"""Which routes of the kernels can run here."""

import llvmlite.binding as llvm

from latefold.index.kernels.int8 import Route

RUNNABLE = {
    "x86_64": [Route.VNNI_512, Route.VNNI_256, Route.AVX2, Route.PLAIN],
    "aarch64": [Route.DOTPROD, Route.PLAIN],
}


def routes():
    """Those that this processor can run."""
    triple = llvm.get_process_triple().replace("arm64", "aarch64").split("-")[0]
    features = llvm.get_host_cpu_features()
    needs = {
        Route.VNNI_512: ["avx512vnni", "avx512bw"],
        Route.VNNI_256: ["avx512vnni", "avx512vl"],
        Route.AVX2: ["avx2"],
        Route.DOTPROD: ["dotprod"],
        Route.PLAIN: [],
    }
    return [r for r in RUNNABLE.get(triple, [Route.PLAIN]) if all(features.get(name) for name in needs[r])]
