"""The quantizer and the configuration of transformers: what `from_pretrained` and `save_pretrained` call.

Their classes are made of transformers' own when it is there, so that importing embedcompress.nn does not import it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .._checks import check_type, checked_integer, checked_items
from .._methods import AFTER_TRAINING
from .._registry import checked_options
from ._attention import CompressedMultiheadAttention
from ._compressed import Compressed
from ._convert import convert_at_once
from ._fake import Quantization
from ._model import MINIMUM_ROWS, compress_model_
from ._parameter_report import ParameterReport
from ._pretrained import Checkpoint, loosen_ties, state_and_metadata
from ._report import Report
from ._state import same_memory, span
from ._ties import LISTENERS, settle

NAME = "embedcompress"
_MODULE = "embedcompress.transformers"
_SMALL = 1 << 20
"""Bytes."""


class Settings:
    """How `from_pretrained(path, quantization_config=EmbedCompressConfig(...))` compresses a model that it loads.

    The dense weights are mapped from their files, and each is let go of when it has become a table. A saved folder
    keeps this in its config.json; what the tables are, the folder says itself.

    Args:
        bits: Of embeddings and of linear layers; None is the method's own default.
        embedding_bits: Of embeddings, if others.
        method: Of embeddings: a name from `embedcompress.methods()`.
        linear: Whether linear layers become tables too: least squares in blocks of `block` columns.
        block: Columns that share a range, in linear layers.
        tied: See `embedcompress.nn.compress_model_`, as for the next two.
        minimum_rows: Embeddings of fewer rows stay dense.
        minimum_bytes: Embeddings of fewer bytes stay dense.
        modules_to_not_convert: Names of layers, or of what is around them, or patterns of `fnmatch`, that stay dense;
            each must fit something. An embedding that is tied to one of them stays dense too, unless `tied` is "untie".

    Raises:
        TypeError, ValueError: an option out of range, or that the method does not have.
    """

    def __init__(
        self,
        bits: int | None = 4,
        *,
        embedding_bits: int | None = None,
        method: str = "least_squares",
        linear: bool = False,
        block: int = 64,
        tied: Literal["share", "skip", "untie"] = "share",
        minimum_rows: int = MINIMUM_ROWS,
        minimum_bytes: int = 0,
        modules_to_not_convert: Sequence[str] | None = None,
    ) -> None:
        for name, given in (("bits", bits), ("embedding_bits", embedding_bits)):
            if given is not None and not 1 <= checked_integer(given, name) <= 16:
                raise ValueError(f"{name} must be from 1 to 16, not {given}")
        if linear and bits is None:
            raise ValueError("linear=True needs bits")
        if tied not in ("share", "skip", "untie"):
            raise ValueError(f"tied must be 'share', 'skip' or 'untie', not {tied!r}")
        for name, least in (("minimum_rows", minimum_rows), ("minimum_bytes", minimum_bytes)):
            if checked_integer(least, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {least}")
        check_type(method, str, "method", "a method's name")
        check_type(linear, bool, "linear", "a flag")
        Quantization(group="blocks", block=block)
        self.quant_method = NAME
        self.bits, self.embedding_bits, self.method, self.linear, self.block = (
            bits,
            embedding_bits,
            method,
            linear,
            block,
        )
        self.tied, self.minimum_rows, self.minimum_bytes = tied, minimum_rows, minimum_bytes
        self.modules_to_not_convert = _patterns(modules_to_not_convert)
        checked_options(method, AFTER_TRAINING, self.of_embeddings())
        if linear:
            self.of_linear()

    def of_embeddings(self) -> dict[str, int]:
        """Return the options of the embeddings' method."""
        bits = self.bits if self.embedding_bits is None else self.embedding_bits
        return {} if bits is None else {"bits": bits}

    def of_linear(self) -> Quantization:
        """Return how linear layers are quantized."""
        assert self.bits is not None
        return Quantization(self.bits, "blocks", block=self.block, ranges="least_squares")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """Make one of what config.json has; other arguments count before it."""
        known = signature(Settings).parameters
        unused = {key: kwargs.pop(key) for key in [*kwargs] if return_unused_kwargs and key not in known}
        config = cls(**{key: value for key, value in {**config_dict, **kwargs}.items() if key != "quant_method"})
        return (config, unused) if return_unused_kwargs else config

    def leaves_out(self, name: str) -> bool:
        """Whether a layer is to stay dense."""
        steps = name.split(".")
        names = [".".join(steps[:count]) for count in range(1, len(steps) + 1)]
        return any(fnmatchcase(one, pattern) for pattern in self.modules_to_not_convert for one in names)

    def check_names(self, model: nn.Module) -> None:
        """Refuse names that a model does not have."""
        names = [name for name, _ in model.named_modules(remove_duplicate=False)]
        for pattern in self.modules_to_not_convert:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"modules_to_not_convert has {pattern!r}, but the model has no layer of that name")


def _patterns(given: Sequence[str] | None) -> list[str]:
    """Return names as a list; a text is not one of them, though one can go through it."""
    if isinstance(given, str):
        raise TypeError(f"modules_to_not_convert must be a list of names, not the text {given!r}")
    patterns = list(checked_items(given or (), "modules_to_not_convert"))
    for pattern in patterns:
        check_type(pattern, str, "modules_to_not_convert", "a list of names")
    return patterns


class Quantizer:
    """What transformers calls while it loads and saves a model with tables.

    Attributes:
        report: What `compress_model_` said of a model that was dense; else None.
        linear_report: What `convert` would say of it, with `linear`; else None.
    """

    quantization_config: Settings
    pre_quantized: bool
    report: Report | None = None
    linear_report: ParameterReport | None = None
    refusal: str = ""
    """Why the model can't be saved."""
    _checkpoint: Checkpoint | None = None

    is_trainable = True
    # What is dense can be trained; tables can't, and have no gradient.
    is_qat_trainable = True
    is_compileable = True

    def is_serializable(self) -> bool:
        """`save_pretrained` may be called.

        Raises:
            ValueError: another quantizer had changed the model before, and a folder names one only.
        """
        if self.refusal:
            raise ValueError(self.refusal)
        return True

    def validate_environment(self, device_map: Any = None, **kwargs: Any) -> None:
        """Refuse devices that tables can't be on."""
        devices = set(map(str, device_map.values())) if isinstance(device_map, dict) else {str(device_map)}
        others = sorted(devices - {"None", "cpu", "auto"})
        if others:
            raise ValueError(f"compressed tables are on the CPU: device_map must be 'cpu', not {others[0]!r}")

    def _process_model_before_weight_loading(
        self, model: Any, checkpoint_files: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        if self.pre_quantized:
            self._checkpoint = Checkpoint(checkpoint_files or ())
            # While it makes a model, transformers has its dtype as the default one.
            self._checkpoint.place(model, torch.get_default_dtype())
            loosen_ties(model)
            patterns = self._checkpoint.unexpected(model.base_model_prefix)
            model._keys_to_ignore_on_load_unexpected = {*(model._keys_to_ignore_on_load_unexpected or ()), *patterns}
        else:
            self.quantization_config.check_names(model)

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> None:
        if self._checkpoint is not None:
            self._checkpoint.fill()
            self._checkpoint = None
            settle(model)
        else:
            self._compress(model)
        attach(model, self)

    def _compress(self, model: nn.Module) -> None:
        settings = self.quantization_config
        options: dict[str, Any] = settings.of_embeddings()
        self.report = compress_model_(
            model,
            settings.method,
            filter_fn=lambda name, _: not settings.leaves_out(name),
            tied=settings.tied,
            minimum_rows=settings.minimum_rows,
            minimum_bytes=settings.minimum_bytes,
            **options,
        )
        if settings.linear:
            small = {layer.name for layer in self.report if layer.status == "skipped"}
            dense = {
                name: None
                for name, module in model.named_modules()
                if _has_matrix(module) and (name in small or settings.leaves_out(name))
            }
            self.linear_report = convert_at_once(model, settings.of_linear(), dense)
        _let_files_go(model)

    def get_state_dict_and_metadata(self, model: Any) -> tuple[Any, dict[str, str]]:
        """Return what is saved; of a model with adapters that transformers loaded, they alone are, as ever."""
        if getattr(model, "_hf_peft_config_loaded", False):
            return None, {}
        return state_and_metadata(model)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the configuration and what is known of the model, whose the tables are."""
        return _again, (self.quantization_config.__dict__, self.report, self.linear_report, self.refusal)


def _let_files_go(model: nn.Module) -> None:
    """Copy small tensors, such as norms and biases: each keeps the whole file mapped that it came from."""
    copies: dict[object, Tensor] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        begin, end = span(tensor)
        if begin < end and tensor.nbytes < _SMALL:
            tensor.data = copies.setdefault(same_memory(tensor), tensor.detach().clone())


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.dim() == 2 for parameter in module._parameters.values() if parameter is not None)


def _again(settings: dict[str, Any], report: Report | None, linear: ParameterReport | None, refusal: str) -> Any:
    config, kind = registered()
    quantizer = kind(config.from_dict(settings))
    quantizer.report, quantizer.linear_report, quantizer.refusal = report, linear, refusal
    return quantizer


@cache
def registered() -> tuple[Any, Any]:
    """Return the classes of the configuration and of the quantizer, which transformers knows by now."""
    from transformers.quantizers.auto import register_quantization_config, register_quantizer
    from transformers.quantizers.base import HfQuantizer
    from transformers.utils.quantization_config import QuantizationConfigMixin

    config = type(
        "EmbedCompressConfig", (Settings, QuantizationConfigMixin), {"__module__": _MODULE, "__doc__": Settings.__doc__}
    )
    quantizer = type(
        "EmbedCompressQuantizer", (Quantizer, HfQuantizer), {"__module__": _MODULE, "__doc__": Quantizer.__doc__}
    )
    register_quantization_config(NAME)(config)
    register_quantizer(NAME)(quantizer)
    return config, quantizer


def attach(model: nn.Module, quantizer: Any = None) -> None:
    """Have transformers save the tables of its own models, wherever they are in a model.

    Args:
        model: Any; nothing is done for parts that are not transformers'.
        quantizer: What they call; a new one if None.
    """
    if "transformers" not in sys.modules:
        return
    import transformers

    kinds = (Compressed, CompressedMultiheadAttention)
    made: Any = None
    for part in model.modules():
        if isinstance(part, transformers.PreTrainedModel) and any(isinstance(held, kinds) for held in part.modules()):
            held: Any = part
            before = getattr(held, "hf_quantizer", None)
            if before is not None and quantizer is None:
                if not isinstance(before, Quantizer):
                    held.hf_quantizer = _refusing(before)
                continue
            if quantizer is None and made is None:
                config, kind = registered()
                made = kind(config(bits=None))
            used = made if quantizer is None else quantizer
            held.hf_quantizer = used
            held.is_quantized, held.quantization_method = True, NAME
            held.config.quantization_config = used.quantization_config


def _refusing(before: Any) -> Any:
    """Return a quantizer that saves nothing, in the place of another library's."""
    config, kind = registered()
    quantizer = kind(config(bits=None))
    method = getattr(before.quantization_config, "quant_method", type(before).__name__)
    quantizer.refusal = (
        f"the model was quantized by {getattr(method, 'value', method)} before its embeddings became tables, and a "
        "folder can name one way only: save it before, or use embedcompress.nn.save_compressed"
    )
    return quantizer


LISTENERS.append(attach)
