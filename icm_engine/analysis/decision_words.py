"""A decision card in sentences: the verdict with its reason, what would have changed it, and what it cost."""

from icm_engine.analysis.decision import Decision
from icm_engine.analysis.strip import Tile
from icm_engine.analysis.wording import chance, decimal, duration, figures
from icm_engine.core.settings import SearchConfig


def sentence(card: Decision) -> str:
    """Return the verdict with its reason."""
    if card.delta is None:
        return "Unchanged: the model prefers the label it has, and nothing was proposed."
    if card.verdict == "unchanged":
        return _unchanged(card)
    said = f"delta = {decimal(card.delta, 2)}"
    if card.delta > 0:
        return f"Accepted: {said} is a gain, which needs no draw."
    against = f"{said} at T = {figures(card.temperature)} gives {chance(card.probability)}, draw {figures(card.draw)}."
    return f"Accepted, although it is no gain: {against}" if card.verdict == "accepted" else f"Rejected: {against}"


def _unchanged(card: Decision) -> str:
    if any(repair.taken for repair in card.repairs):
        return "Unchanged: the repair took the proposal back."
    return "Unchanged: the label stays, and no repair raised U."


def threshold_sentence(card: Decision) -> str:
    """Say at which temperature the verdict would have been another one; empty where none would change it."""
    if card.threshold is None or card.verdict == "unchanged":
        return ""
    said = f"= delta / ln(draw) = {decimal(card.delta, 2)} / ln {figures(card.draw)}"
    if card.verdict == "accepted":
        return f"It would have been rejected at T below {figures(card.threshold)} ({said[2:]})."
    return f"It would have been accepted at T of at least {figures(card.threshold)} ({said[2:]})."


def proposal_sentence(card: Decision) -> str:
    """Say what was proposed for the drawn example."""
    tie = f" {' and '.join(card.tied)} tie exactly: the first label was proposed." if card.tied else ""
    if card.old == card.proposed:
        return f"Drawn with label {card.old}; the model would give it the same.{tie}"
    return f"Drawn {'unlabelled' if card.old is None else f'with label {card.old}'}; proposed: {card.proposed}.{tie}"


def scored_sentence(card: Decision) -> str:
    """Say what the labelings before and after were scored with, and where the example's own scores come from."""
    asked = (
        "The model was not asked again about the drawn example: these are its scores from the labels before."
        if card.reused
        else "The model was asked about the drawn example, with all other labels as demonstrations."
    )
    if card.after is None:
        return asked
    if card.paired:
        return f"{asked} Before and after were scored together, in the same orders of demonstrations."
    return f"{asked} Before was scored when it was accepted; before and after each in their own orders."


def cost_sentence(card: Decision) -> str:
    """Say what the step cost."""
    saved = f" ({card.tokens_full:,} in separate full prompts)" if card.tokens_full > card.tokens_encoded else ""
    pins = "no pins" if not card.pins else "1 pin" if card.pins == 1 else f"{card.pins:,} pins"
    return (
        f"{card.set_evaluations:,} labelings scored, {card.prompts:,} prompts, {card.tokens_encoded:,} tokens{saved}, "
        f"{duration(card.seconds)}; {pins} in force."
    )


def settings_words(config: SearchConfig) -> str:
    """Return the form of U that the numbers of a card belong to."""
    return f"U = {config.alpha:g} · P − {config.pair_weight:g} a pair; P is {config.predictability}"


def decision_tiles(card: Decision) -> tuple[Tile, ...]:
    """Return the numbers that decide, each with its explanation."""
    after = card.after.utility if card.after else None
    return (
        Tile(
            "U",
            f"{decimal(card.before.utility, 2)} → {decimal(after, 2)}",
            "",
            "U(D) before → after the proposal and its repairs.",
        ),
        Tile("delta U", decimal(card.delta, 2), "", "U after minus U before. A gain is always accepted."),
        Tile("T", figures(card.temperature), "", "The temperature of this step, on the scale of U."),
        Tile("exp(delta / T)", chance(card.probability), "", "The chance of accepting a loss; 100 % for a gain."),
        Tile("Draw", figures(card.draw), "", "A loss is accepted if the draw is below its chance."),
        Tile("Label mass", chance(card.label_mass), "", "Probability on the labels before renormalising."),
    )
