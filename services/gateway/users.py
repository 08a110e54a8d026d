"""What is known of one user: shown, exported, deleted. No fallbacks: a person's data is told whole or not at all."""

from __future__ import annotations

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument
from services.gateway.domain.budget import Stage
from services.gateway.flow import Parts
from services.gateway.stages import Request

MAX_ID = 128


async def get_profile(
    request: Request, parts: Parts, message: gateway_pb2.GetProfileRequest
) -> gateway_pb2.GetProfileResponse:
    _check_user_id(message.user_id)
    asked = ranker_pb2.GetProfileRequest(user_id=message.user_id)
    answer = await request.call_stage(Stage.RANKER, parts.clients.ranker.GetProfile, asked)
    return gateway_pb2.GetProfileResponse(profile=answer.profile, request_id=request.call.request_id)


async def delete_user(
    request: Request, parts: Parts, message: gateway_pb2.DeleteUserRequest
) -> gateway_pb2.DeleteUserResponse:
    """Where it is stored, and in this gateway's memory; another replica's forgets sessions and rankings by itself."""
    _check_user_id(message.user_id)
    asked = ranker_pb2.DeleteUserRequest(user_id=message.user_id)
    answer = await request.call_stage(Stage.RANKER, parts.clients.ranker.DeleteUser, asked)
    parts.memory.forget_user(request.call.tenant, message.user_id)
    return gateway_pb2.DeleteUserResponse(
        deleted_event_count=answer.deleted_event_count,
        deleted_impressions_count=answer.deleted_impressions_count,
        request_id=request.call.request_id,
    )


async def export_user(
    request: Request, parts: Parts, message: gateway_pb2.ExportUserRequest
) -> gateway_pb2.ExportUserResponse:
    _check_user_id(message.user_id)
    asked = ranker_pb2.ExportUserRequest(
        user_id=message.user_id, page_size=message.page_size, page_token=message.page_token
    )
    answer = await request.call_stage(Stage.RANKER, parts.clients.ranker.ExportUser, asked)
    return gateway_pb2.ExportUserResponse(
        events=answer.events,
        impressions=answer.impressions,
        profile=answer.profile if answer.HasField("profile") else None,
        next_page_token=answer.next_page_token,
        request_id=request.call.request_id,
    )


def _check_user_id(user_id: str) -> None:
    if not 1 <= len(user_id) <= MAX_ID:
        raise InvalidArgument.of("user_id", f"has {len(user_id)} characters; send 1 to {MAX_ID}")
