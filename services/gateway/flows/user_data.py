"""The stored data of a user or visitor: profile, declared attributes, export, deletion, merge.

These calls have no fallback: they return complete data or fail.
"""

from __future__ import annotations

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument
from services.gateway.convert import check_texts, check_user_attributes, require_id, require_one_person
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls


async def get_profile(
    calls: StageCalls, parts: Parts, message: gateway_pb2.GetProfileRequest
) -> gateway_pb2.GetProfileResponse:
    require_one_person(message.user_id, message.visitor_id)
    ask = ranker_pb2.GetProfileRequest(user_id=message.user_id, visitor_id=message.visitor_id)
    answer = await calls.call(Stage.RANKER, parts.stubs.ranker.GetProfile, ask)
    return gateway_pb2.GetProfileResponse(profile=answer.profile, request_id=calls.info.request_id)


async def set_user_attributes(
    calls: StageCalls, parts: Parts, message: gateway_pb2.SetUserAttributesRequest
) -> gateway_pb2.SetUserAttributesResponse:
    require_one_person(message.user_id, message.visitor_id)
    check_user_attributes(message.attributes)
    change = ranker_pb2.SetUserAttributesRequest(
        user_id=message.user_id, visitor_id=message.visitor_id, attributes=message.attributes
    )
    answer = await calls.call(Stage.RANKER, parts.stubs.ranker.SetUserAttributes, change)
    return gateway_pb2.SetUserAttributesResponse(attributes=answer.attributes, request_id=calls.info.request_id)


async def merge_users(
    calls: StageCalls, parts: Parts, message: gateway_pb2.MergeUsersRequest
) -> gateway_pb2.MergeUsersResponse:
    require_id("visitor_id", message.visitor_id)
    require_id("user_id", message.user_id)
    merge = ranker_pb2.MergeUsersRequest(visitor_id=message.visitor_id, user_id=message.user_id)
    answer = await calls.call(Stage.RANKER, parts.stubs.ranker.MergeUsers, merge)
    return gateway_pb2.MergeUsersResponse(
        moved_event_count=answer.moved_event_count,
        moved_impressions_count=answer.moved_impressions_count,
        request_id=calls.info.request_id,
    )


async def delete_user(
    calls: StageCalls, parts: Parts, message: gateway_pb2.DeleteUserRequest
) -> gateway_pb2.DeleteUserResponse:
    require_one_person(message.user_id, message.visitor_id)
    delete = ranker_pb2.DeleteUserRequest(user_id=message.user_id, visitor_id=message.visitor_id)
    answer = await calls.call(Stage.RANKER, parts.stubs.ranker.DeleteUser, delete)
    return gateway_pb2.DeleteUserResponse(
        deleted_event_count=answer.deleted_event_count,
        deleted_impressions_count=answer.deleted_impressions_count,
        deleted_ranking_count=answer.deleted_ranking_count,
        deleted_conversation_count=answer.deleted_conversation_count,
        request_id=calls.info.request_id,
    )


async def export_user(
    calls: StageCalls, parts: Parts, message: gateway_pb2.ExportUserRequest
) -> gateway_pb2.ExportUserResponse:
    require_one_person(message.user_id, message.visitor_id)
    check_texts(message)
    if message.page_size < 0:
        raise InvalidArgument.of("page_size", f"{message.page_size} is negative; 0 means the default")
    ask = ranker_pb2.ExportUserRequest(
        user_id=message.user_id, visitor_id=message.visitor_id, page_size=message.page_size,
        page_token=message.page_token,
    )  # fmt: skip
    answer = await calls.call(Stage.RANKER, parts.stubs.ranker.ExportUser, ask)
    return gateway_pb2.ExportUserResponse(
        events=answer.events,
        impressions=answer.impressions,
        rankings=answer.rankings,
        conversations=answer.conversations,
        profile=answer.profile if answer.HasField("profile") else None,
        attributes=answer.attributes,
        next_page_token=answer.next_page_token,
        request_id=calls.info.request_id,
    )
