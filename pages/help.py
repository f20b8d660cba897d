"""Help: what the method does, the keys, and where to read on."""

import streamlit as st

from pages.parts import home, menu

WORDS = (
    ("U(D)", "Utility of a labeling: alpha · P(D) − I(D). The search looks for the labels with the highest U."),
    ("P(D)", "Mutual predictability: how well the model predicts each label from all the others."),
    ("I(D)", "Inconsistency: the number of pairs of labels that contradict each other under the rule."),
    ("Temperature", "How much loss of U the search still accepts. It cools with every step."),
    ("Repair", "A proposal that leaves a conflict gets the consistent labels that raise U most."),
    ("Margin", "Log-probability of the label minus that of the best other label, given all other labels."),
    ("Label collapse", "Nearly all labels are the same. A model may find constant labels very predictable."),
    ("Mirrored labeling", "Coherent labels that all say the opposite of the truth. U cannot tell it from the truth."),
    ("Pin", "A label that a person fixed; the search keeps it."),
)
KEYS = (
    ("S", "Start a run"), ("N", "Take one step"), ("M", "Take N steps"), ("P", "Pause"), ("U", "Resume"),
    ("X", "Stop"), ("← →", "On Steps: one event back or on"), ("F", "On Steps: next label change"),
    ("A", "On Steps: next accepted proposal"), ("E", "On Steps: next repair"),
    ("?", "On Annotate: all its keys"),
)  # fmt: skip
DOUBTS = (
    "On Runs, choose **Start a run on sample data**.",
    "Wait until the run has finished: both curves and the last decision stay in view.",
    "Under **Least certain**, choose the first example.",
    "Read its text, its labels over time and the decisions that changed it.",
    "Choose **Annotate this example** to give it a label of your own.",
)

menu.require(home.show)
st.title("Help")
st.markdown(home.WHAT)
st.page_link(menu.TOUR, label="Take the tour on the steps of a run", icon=":material/explore:")
st.header("Which labels should I doubt, and why?")
st.markdown("\n".join(f"{number}. {words}" for number, words in enumerate(DOUBTS, 1)))
st.header("Words")
st.dataframe([{"word": word, "meaning": meaning} for word, meaning in WORDS], hide_index=True, alt="Words")
st.header("Keys")
st.dataframe([{"key": key, "what it does": what} for key, what in KEYS], hide_index=True, alt="Keys")
