"""Products of small matrices in compiled code, inside other compiled code.

Libraries reach about half of a core's speed at these sizes (64 x 128 by 128 x 64). Here the inner loop is
written for LLVM as a block of `ROWS` vectors, which stay in registers while the loop runs along the shared
dimension: each turn is one load of b and `ROWS` multiply-adds. Every element is summed in the order of the
shared dimension, so it does not depend on the other elements of the block.
"""

from typing import Any, no_type_check

import llvmlite.binding  # type: ignore[import-untyped]
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from mfh._system.compiled import compiled

ROWS = 8
"""Rows of the result in one block; their vectors fit into the registers of every common processor."""


def _vector_bytes() -> int:
    features = llvmlite.binding.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


VECTOR = _vector_bytes()
"""Bytes of a vector register; the columns of b and of the result must fill registers completely."""


def _block(rows: int) -> Any:
    """Return a function that computes `rows` rows and one vector of columns of a product."""

    @intrinsic
    @no_type_check
    def block(_typing, a, a_start, a_row, a_step, b, b_start, b_step, c, c_start, c_row, depth, rectify):  # noqa: ARG001
        i = types.intp
        signature = types.void(a, i, i, i, b, i, i, c, i, i, i, types.boolean)

        @no_type_check
        def generate(context, builder, signature, arguments):
            def pointer(place: int) -> Any:
                array = context.make_array(signature.args[place])(context, builder, arguments[place])
                return builder.gep(array.data, [arguments[place + 1]])

            vectors = _Vectors(builder, context.get_data_type(a.dtype))
            a_row, a_step, b_step, c_row, depth, rectify = (arguments[n] for n in (2, 3, 6, 9, 10, 11))
            sums = vectors.sums(rows, pointer(0), a_row, a_step, pointer(4), b_step, depth)
            vectors.store(sums, pointer(7), c_row, rectify)
            return context.get_dummy_value()

        return signature, generate

    return block


class _Vectors:
    """Writes the code of a block."""

    def __init__(self, builder: ir.IRBuilder, element: ir.Type) -> None:
        self.builder = builder
        self.bytes_each = 4 if isinstance(element, ir.FloatType) else 8
        self.lanes = VECTOR // self.bytes_each
        self.type = ir.VectorType(element, self.lanes)
        self.zero = ir.Constant(self.type, None)

    @no_type_check
    def sums(self, rows, a, a_row, a_step, b, b_step, depth):
        """Return for each row r the vector sum over k of a[r * a_row + k * a_step] * b[k * b_step]."""
        build, count = self.builder, depth.type
        row_starts = [build.mul(a_row, ir.Constant(count, r)) for r in range(rows)]
        before, loop, after = build.block, build.append_basic_block(), build.append_basic_block()
        build.branch(loop)
        build.position_at_end(loop)
        k = build.phi(count)
        k.add_incoming(ir.Constant(count, 0), before)
        so_far = [build.phi(self.type) for _ in range(rows)]
        column = build.gep(a, [build.mul(k, a_step)])
        factor = build.load(self.at(b, k, b_step), align=self.bytes_each)
        sums = []
        for total, start in zip(so_far, row_starts, strict=True):
            term = build.fmul(
                self.spread(build.load(build.gep(column, [start]))), factor, flags=("contract",)
            )
            sums.append(build.fadd(term, total, flags=("contract",)))
            total.add_incoming(self.zero, before)
            total.add_incoming(sums[-1], loop)
        following = build.add(k, ir.Constant(count, 1))
        k.add_incoming(following, loop)
        build.cbranch(build.icmp_signed("<", following, depth), loop, after)
        build.position_at_end(after)
        return sums

    @no_type_check
    def store(self, sums, c, c_row, rectify):
        """Write the vectors to the rows of c, after a ReLU if `rectify` is true (NaN stays NaN)."""
        build, rectified = self.builder, self.spread(rectify)
        for r, total in enumerate(sums):
            cut = build.and_(rectified, build.fcmp_ordered("<=", total, self.zero))
            place = self.at(c, ir.Constant(c_row.type, r), c_row)
            build.store(build.select(cut, self.zero, total), place, align=self.bytes_each)

    @no_type_check
    def at(self, array, row, pitch):
        """Return the address of the vector that starts at a row."""
        start = self.builder.gep(array, [self.builder.mul(row, pitch)])
        return self.builder.bitcast(start, self.type.as_pointer())

    @no_type_check
    def spread(self, scalar):
        """Return a vector with the same value in every lane."""
        undefined = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(first, undefined, lanes)


_many_rows, _one_row = _block(ROWS), _block(1)


@compiled()
@no_type_check
def product(
    rows, columns, depth, a, a_start, a_row, a_step, b, b_start, b_step, c, c_start, c_row, lanes, rectify
):
    """Compute the product c = a b of matrices in flat arrays of one type, with a ReLU if `rectify` is true.

    Element (i, k) of a is `a[a_start + i * a_row + k * a_step]`, (k, j) of b `b[b_start + k * b_step + j]`,
    (i, j) of c `c[c_start + i * c_row + j]`. `lanes` is the number of elements in a vector; `columns` is a
    multiple of it, `depth` is 1 or more.
    """
    done = rows - rows % ROWS
    for i in range(0, done, ROWS):
        for j in range(0, columns, lanes):
            _many_rows(
                a, a_start + i * a_row, a_row, a_step, b, b_start + j, b_step,
                c, c_start + i * c_row + j, c_row, depth, rectify,
            )  # fmt: skip
    for i in range(done, rows):
        for j in range(0, columns, lanes):
            _one_row(
                a, a_start + i * a_row, a_row, a_step, b, b_start + j, b_step,
                c, c_start + i * c_row + j, c_row, depth, rectify,
            )  # fmt: skip
