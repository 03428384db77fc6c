"""What to cite."""

from mfh._report.section import Section

TEMPLATE = """
<p>The hypothesis and Algorithm 1: Zihui Xue, Zhengqi Gao, Sucheng Ren, Hang Zhao.
<cite>The Modality Focusing Hypothesis: Towards Understanding Crossmodal Knowledge Distillation</cite>.
ICLR 2023.
<a href="https://arxiv.org/abs/2206.06487" rel="noreferrer">arXiv 2206.06487</a>.</p>
<pre tabindex="0"><code>@inproceedings{xue2023modality,
  title     = {The Modality Focusing Hypothesis: Towards Understanding Crossmodal Knowledge Distillation},
  author    = {Xue, Zihui and Gao, Zhengqi and Ren, Sucheng and Zhao, Hang},
  booktitle = {International Conference on Learning Representations},
  year      = {2023}
}</code></pre>
"""
SECTION = Section(name="cite", heading="How to cite", template=TEMPLATE, is_shown=lambda _: True)
