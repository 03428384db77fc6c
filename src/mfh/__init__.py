"""Which part of a teacher of one modality can a student of another modality learn from?"""

from mfh._checks import InputError as InputError
from mfh._version import __version__ as __version__
from mfh.results import load_results as load_results
