"""Label sources other than the search: the baselines. Standard library and `core` alone.

label_sources       random, zero-shot, few-shot, calibrated, self-ranked, pseudo, from given labels; none sees gold
llm_judge           a judge that answers in words: styles, verdicts, votes; chat label sources
generation          the Generator protocol: one verb, and TableGenerator (its fake)
"""
