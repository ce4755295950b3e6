"""ONNX files against the onnx library, which wrote them."""

import numpy as np
import onnx
import pytest
from command import scalecheck
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.errors import CheckpointError

RANDOM = np.random.default_rng(5)


def saved(path, *initializers, nodes=(), functions=(), sparse=()):
    graph = helper.make_graph(nodes, "g", [], [], initializers, sparse_initializer=sparse)
    onnx.save(helper.make_model(graph, functions=functions), path)
    return path


def read(path):
    return {tensor.name: tensor for tensor in open_checkpoint(path).tensors}


KINDS = [
    *(T.FLOAT, T.DOUBLE, T.FLOAT16, T.BFLOAT16, T.INT8, T.INT16, T.INT32, T.INT64),
    *(T.UINT8, T.UINT16, T.UINT32, T.UINT64, T.BOOL),
    *(T.FLOAT8E4M3FN, T.FLOAT8E4M3FNUZ, T.FLOAT8E5M2, T.FLOAT8E5M2FNUZ),
]


@pytest.mark.parametrize("raw", [False, True], ids=["listed", "raw"])
@pytest.mark.parametrize("kind", KINDS, ids=[T.DataType.Name(kind) for kind in KINDS])
def test_numbers_are_the_librarys(tmp_path, kind, raw):
    numbers = (
        np.abs(9 * RANDOM.standard_normal((3, 4)))
        if "UINT" in T.DataType.Name(kind)
        else (3 * RANDOM.standard_normal((3, 4)))
    )
    numbers = numbers.astype(helper.tensor_dtype_to_np_dtype(kind))
    data = numbers.tobytes() if raw else numbers.ravel()
    proto = helper.make_tensor("w", kind, numbers.shape, data, raw=raw)
    tensor = read(saved(tmp_path / "m.onnx", proto))["w"]
    expected = numpy_helper.to_array(proto).astype(np.float64)
    np.testing.assert_array_equal(tensor.array(), expected)
    assert tensor.shape == (3, 4)


def test_constants_have_the_names_of_their_outputs(tmp_path):
    value = numpy_helper.from_array(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["deep"], value=value)], "then", [], []
    )
    nodes = [
        helper.make_node("Constant", [], ["table"], value=value),
        helper.make_node("Constant", [], ["floats"], value_floats=[1.5, -2.0, 0.25]),
        helper.make_node("Constant", [], ["one"], value_float=0.5),
        helper.make_node("Constant", [], ["ints"], value_ints=[3, -1]),
        helper.make_node("Constant", [], ["int"], value_int=-7),
        helper.make_node("ConstantOfShape", ["x"], ["filled"], value=value),
        helper.make_node("If", ["c"], ["y"], then_branch=inner),
    ]
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    tensors = read(saved(tmp_path / "m.onnx", weight, nodes=nodes))
    found = {name: tensor.array().ravel().tolist() for name, tensor in tensors.items()}
    assert found == {
        "w": [1.0] * 16,
        "table": [*range(6)],
        "floats": [1.5, -2.0, 0.25],
        "one": [0.5],
        "ints": [3, -1],
        "int": [-7],
        "filled.value": [*range(6)],
        "y.then_branch/deep": [*range(6)],
    }
    assert tensors["w"].kind.is_parameter
    assert not tensors["table"].kind.is_parameter


def test_weights_beside_the_model(tmp_path):
    numbers = RANDOM.standard_normal((50, 40)).astype(np.float32)
    model = helper.make_model(
        helper.make_graph([], "g", [], [], [numpy_helper.from_array(numbers, "w")])
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    np.testing.assert_array_equal(read(path)["w"].array(), numbers)
    assert open_checkpoint(path).notes == ("reads weights from m.data",)
    (tmp_path / "m.data").write_bytes(numbers.tobytes()[:-4])
    done = scalecheck("check", path)
    assert done.code == 3
    assert "w: bytes 0..8000 do not lie in the 7996 of m.data" in done.err


def external(**words):
    proto = T(name="w", data_type=T.FLOAT, dims=[2, 2], data_location=T.EXTERNAL)
    for key, value in words.items():
        proto.external_data.add(key=key, value=value)
    return proto


DAMAGES = {
    "above": (external(location="../m.data"), "lies in '../m.data', which is not beside it"),
    "at the root": (external(location="/etc/passwd"), "lies in '/etc/passwd', which is not beside"),
    "nowhere": (external(), "lies in '', which is not beside it"),
    "missing": (external(location="none"), "none: no such file or directory"),
    "at no number": (external(location="m.onnx", offset="1e3"), "offset 1e3 is no count of bytes"),
    "past the end": (external(location="m.onnx", offset="9999"), "bytes 9999..10015 do not lie in"),
    "too short": (T(name="w", data_type=1, dims=[2, 2], raw_data=b"abc"), "needs 16 bytes, not 3"),
    "too long": (T(name="w", data_type=1, dims=[1], float_data=[1, 2]), "needs 4 bytes, not 8"),
    "negative": (T(name="w", data_type=1, dims=[-1]), "w: has a negative size"),
    "of 65 dimensions": (T(name="w", data_type=1, dims=[1] * 65), "of more than 64 dimensions"),
}


@pytest.mark.parametrize(("proto", "problem"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_tensor_is_refused_in_one_line(tmp_path, proto, problem):
    done = scalecheck("inspect", saved(tmp_path / "m.onnx", proto))
    assert done.code == 3
    assert problem in done.err
    assert len(done.err.splitlines()) == 1


def test_a_link_to_elsewhere_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "in" / "m.data").symlink_to(tmp_path / "secret")
    path = saved(tmp_path / "in" / "m.onnx", external(location="m.data"))
    with pytest.raises(CheckpointError, match="a link to elsewhere"):
        open_checkpoint(path)


def test_two_tensors_of_one_name_are_refused(tmp_path):
    one = numpy_helper.from_array(np.ones(3, np.float32), "w")
    with pytest.raises(CheckpointError, match="holds two tensors named w"):
        open_checkpoint(saved(tmp_path / "m.onnx", one, one))


def test_what_has_no_scale_is_named_and_fails_a_check(tmp_path):
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    words = helper.make_tensor("words", T.STRING, [1], [b"a"])
    nibbles = helper.make_tensor("nibbles", T.INT4, [2], [1, 2])
    values = numpy_helper.from_array(np.ones(2, np.float32), "sparse")
    places = numpy_helper.from_array(np.array([0, 5]), "places")
    sparse = helper.make_sparse_tensor(values, places, [9])
    path = saved(tmp_path / "m.onnx", weight, words, nibbles, sparse=[sparse])
    done = scalecheck("check", path, "--format", "csv")
    assert done.code == 1
    for name in ("words", "nibbles", "sparse"):
        assert f"SC107,error,{name}," in done.out.replace("unmeasured,", ""), done.out


def test_a_file_of_deep_graphs_is_refused(tmp_path):
    graph = b""
    for _ in range(40):  # a node, its attribute, and the graph in that
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            graph = tag + _length(graph) + graph
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + _length(graph) + graph)
    with pytest.raises(CheckpointError, match="nests graphs deeper than 32"):
        open_checkpoint(tmp_path / "m.onnx")


def _length(content):
    count, encoded = len(content), b""
    while count > 127:
        encoded += bytes([count & 127 | 128])
        count >>= 7
    return encoded + bytes([count])


def test_a_file_of_no_message_is_refused(tmp_path):
    path = tmp_path / "m.onnx"
    for content in (b"\x08\x07", b"hello, world", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 64):
        path.write_bytes(content)
        done = scalecheck("inspect", path)
        assert done.code == 3
        assert len(done.err.splitlines()) == 1


def test_the_initializers_of_a_branch_are_weights(tmp_path):
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    multiply = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = onnx.numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    branch = onnx.helper.make_graph([multiply], "branch", [], [value], [weight])
    node = onnx.helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch)
    first = onnx.numpy_helper.from_array(np.ones((2, 3), np.float32), "first")
    saved(tmp_path / "m.onnx", first, nodes=[node])
    tensors = open_checkpoint(tmp_path / "m.onnx").tensors
    kinds = {tensor.name: tensor.kind.kind for tensor in tensors}
    assert kinds == dict.fromkeys(("first", "out.then_branch/w", "out.else_branch/w"), "parameter")


def test_scales_of_quantised_inputs_are_no_parameters(tmp_path):
    arrays = {
        "in_scale": np.float32(0.1),
        "in_zero": np.int8(0),
        "w_codes": np.ones((3, 4), np.int8),
        "w_s": np.ones(4, np.float32),
        "bias": np.ones(4, np.float32),
    }
    saved(
        tmp_path / "m.onnx",
        *(onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()),
        nodes=[
            onnx.helper.make_node("QuantizeLinear", ["x", "in_scale", "in_zero"], ["q"]),
            onnx.helper.make_node("DequantizeLinear", ["w_codes", "w_s"], ["w"], axis=1),
        ],
    )
    tensors = open_checkpoint(tmp_path / "m.onnx").tensors
    assert [tensor.name for tensor in tensors if tensor.kind.is_parameter] == ["bias"]
