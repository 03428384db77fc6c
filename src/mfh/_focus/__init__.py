"""Focused teachers: split a model at a layer, choose channels, remove them."""

from mfh._focus.inventory import LayerInfo as LayerInfo
from mfh._focus.inventory import layers as layers
from mfh._focus.inventory import uncompiled as uncompiled
from mfh._focus.selection import channel_means as channel_means
from mfh._focus.selection import select as select
from mfh._focus.splitting import channel_split as channel_split
from mfh._focus.splitting import split as split
from mfh._focus.teacher import FocusedTeacher as FocusedTeacher
