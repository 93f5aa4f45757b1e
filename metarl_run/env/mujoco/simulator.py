"""MuJoCo as a function of tensors: full physics states go in and come out, stepped by one native call."""

import copy
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from metarl_run.env.drawing import SIZE
from metarl_run.env.mujoco.package import draw_without_screen, mujoco_quietly
from metarl_run.errors import ConfigError
from metarl_run.maths.parallel import num_threads

log = logging.getLogger(__name__)

DIVERGED = slice(3, 7)
"""MuJoCo's warnings of positions, velocities, accelerations and controls that are not finite, or too large."""

ASSETS = Path(gymnasium.__file__).parent / "envs/mujoco/assets"
INSTALL = "pip install 'metarl-run[mujoco]'"


class MujocoState(NamedTuple):
    """Full state of a model without activations or plugins.

    Attributes:
        qpos: generalised positions.
        qvel: generalised velocities.
        warmstart: accelerations from which the constraint solver starts; without them, a step differs in its last bits.
        derived: fields that the family reads besides, side by side; as after MuJoCo's last substep.
    """

    qpos: Float64[Tensor, "M B nq"]
    qvel: Float64[Tensor, "M B nv"]
    warmstart: Float64[Tensor, "M B nv"]
    derived: Float64[Tensor, "M B k"]


class Simulator:
    """Simulations of one model, each with parameters of its own.

    Args:
        model_file: the model, in Gymnasium's assets.
        frame_skip: substeps per step, each of the model's time step.
        derived: fields of MjData that states carry besides positions and velocities.
    """

    def __init__(self, model_file: str, frame_skip: int, derived: Sequence[str] = ()) -> None:
        self.model = _compiled(model_file, contact_forces="cfrc_ext" in derived)
        self.data = _mujoco().MjData(self.model)  # for shapes and pictures
        self.frame_skip, self.derived = frame_skip, tuple(derived)
        self.dt = float(self.model.opt.timestep) * frame_skip  # s, between two actions
        self._batch: Any = None
        self._renderer: Any = None
        self.model_file, self._warned = model_file, False
        self._written: tuple[Any, int] | None = None

    def slice_of(self, name: str) -> slice:
        """Where a derived field stands in `MujocoState.derived`."""
        sizes = [getattr(self.data, field).size for field in self.derived]
        begin = sum(sizes[: self.derived.index(name)])
        return slice(begin, begin + sizes[self.derived.index(name)])

    def forward(self, qpos: Tensor, qvel: Tensor, parameters: dict[str, Tensor]) -> MujocoState:
        """The state of a simulation that begins with these positions and velocities, `[M, B, n]`.

        Args:
            parameters: fields of MjModel, `[M, …]`, that replace the model's.
        """
        start = MujocoState(qpos, qvel, torch.zeros_like(qvel), qvel[..., :0])
        return self._run(start, None, parameters)

    def step(
        self,
        state: MujocoState,
        action: Float64[Tensor, "M B d"],
        parameters: dict[str, Tensor],
        alive: Bool[Tensor, "M B"] | None = None,
    ) -> MujocoState:
        """The state after `frame_skip` substeps with the controls `action`; the same state where not alive."""
        return self._run(state, action, parameters, alive)

    def picture(self, state: MujocoState) -> np.ndarray:
        """The first simulation as a camera sees it that follows the robot, uint8 `[SIZE, SIZE, 3]`."""
        mujoco, data = _mujoco(), self.data
        if self._renderer is None:
            draw_without_screen()
            try:
                self._renderer = mujoco.Renderer(_with_endless_floor(self.model), SIZE, SIZE)
            except (mujoco.FatalError, RuntimeError, ImportError, AttributeError) as error:
                raise ConfigError("film", f"MuJoCo cannot draw here: {error}", "MUJOCO_GL=egl or osmesa") from error
        data.qpos[:] = state.qpos[0, 0].cpu().numpy()
        mujoco.mj_forward(self.model, data)
        camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(self.model, camera)
        camera.lookat[:], camera.distance, camera.elevation = data.body("torso").xpos, 4.0, -15.0
        self._renderer.update_scene(data, camera)
        return np.array(self._renderer.render())

    def _run(
        self, state: MujocoState, action: Tensor | None, parameters: dict[str, Tensor], alive: Tensor | None = None
    ) -> MujocoState:
        M, B = state.qpos.shape[:2]
        n = M * B
        batch = self._of_size(n)
        self._write(parameters, M, B)
        ids = np.arange(n) if alive is None else alive.flatten().nonzero().flatten().cpu().numpy()
        batch.qpos[:n] = _rows(state.qpos)
        batch.qvel[:n] = _rows(state.qvel)
        batch.qacc_warmstart[:n] = _rows(state.warmstart)
        batch.ctrl[:n] = 0.0 if action is None else _rows(action)
        if action is None:
            batch.forward(ids)
        else:
            batch.step(ids, nstep=self.frame_skip)
            self._warn_of_resets(batch.warning)
        device = state.qpos.device
        qpos, qvel, warmstart = (_tensor(x[:n], M, B, device) for x in (batch.qpos, batch.qvel, batch.qacc_warmstart))
        derived = [_tensor(batch.bind(name)[:n], M, B, device) for name in self.derived]
        return MujocoState(qpos, qvel, warmstart, torch.cat(derived, -1) if derived else qpos.new_empty(M, B, 0))

    def _warn_of_resets(self, warning: np.ndarray) -> None:
        """Say once that MuJoCo put simulations back to their first state, as it does when a state diverges."""
        if not self._warned and (resets := int(warning[:, DIVERGED, 1].sum())):
            self._warned = True
            log.warning(
                "%s: MuJoCo reset %d simulations whose state had diverged, and goes on so", self.model_file, resets
            )

    def _of_size(self, n: int) -> Any:
        """A batch of at least n simulations."""
        if self._batch is None or self._batch.nsim < n:
            self._batch, self._written = _mujoco().batch.Batch(self.model, n, num_threads()), None
            for name in self.derived:
                self._batch.bind(name)
        return self._batch

    def _write(self, parameters: dict[str, Tensor], M: int, B: int) -> None:
        """Give every simulation its task's parameters, and derive what follows from them, unless it has them."""
        key = (parameters, B)
        if not parameters or (self._written and self._written[0] is parameters and self._written[1] == B):
            return
        for name, values in parameters.items():
            field = self._batch.expand(name)
            field[: M * B] = values.cpu().double().repeat_interleave(B, 0).numpy().reshape(M * B, *field.shape[1:])
        self._batch.set_const(np.arange(M * B))
        self._written = key


def _compiled(model_file: str, *, contact_forces: bool) -> Any:
    """The model; with contact forces, one with a sensor that makes MuJoCo compute them in every substep."""
    mujoco, path = _mujoco(), str(ASSETS / model_file)
    if not contact_forces:
        return mujoco.MjModel.from_xml_path(path)
    spec = mujoco.MjSpec.from_file(path)
    spec.body("torso").add_site(name="torso_site")
    spec.add_sensor(type=mujoco.mjtSensor.mjSENS_ACCELEROMETER, objtype=mujoco.mjtObj.mjOBJ_SITE, objname="torso_site")
    return spec.compile()


def _with_endless_floor(model: Any) -> Any:
    """The same model, from whose floor no robot can run in a picture; in the physics, planes have no end anyway."""
    mujoco, model = _mujoco(), copy.copy(model)
    for floor in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        width, material = 2 * model.geom_size[floor, :2], model.geom_matid[floor]
        if material >= 0:  # tiles of the same size
            model.mat_texrepeat[material] /= width
            model.mat_texuniform[material] = 1
        model.geom_size[floor, :2] = 0.0
    return model


def _mujoco() -> Any:
    """The module `mujoco`, of a version that steps many simulations in one call."""
    try:
        mujoco = mujoco_quietly()
        importlib.import_module("mujoco.batch")  # new in MuJoCo 4
    except ImportError as error:
        raise ConfigError("env", f"needs MuJoCo 4 or newer, got: {error}", INSTALL) from error
    return mujoco


def _rows(x: Tensor) -> np.ndarray:
    return x.flatten(0, 1).cpu().numpy()


def _tensor(x: np.ndarray, M: int, B: int, device: torch.device) -> Tensor:
    return torch.from_numpy(x.reshape(M, B, -1).copy()).to(device)
