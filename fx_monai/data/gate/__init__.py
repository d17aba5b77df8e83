"""The gate: is this image a frontal chest radiograph?

Tags decide where they are there; pixels are judged where tags are absent or incomplete, and can make an image uncertain
that its tags accept. A refusal is for the caller to act on, and can be overridden by the user everywhere.
"""

from fx_monai.data.gate.judge import judge_image
from fx_monai.data.gate.screen import screen
from fx_monai.data.gate.verdict import Judgement, Verdict

__all__ = ["Judgement", "Verdict", "judge_image", "screen"]
