"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('analysis',
    sa.Column('channels', sa.JSON(), nullable=False),
    sa.Column('channels_hash', sa.String(length=64), nullable=False),
    sa.Column('job_id', sa.String(length=40), nullable=True),
    sa.Column('series_id', sa.String(length=40), nullable=True),
    sa.Column('document', sa.JSON(), nullable=False),
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_analysis'))
    )
    with op.batch_alter_table('analysis', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_analysis_job_id'), ['job_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_analysis_tenant_id'), ['tenant', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_analysis_tenant_series_id_channels_hash_id'), ['tenant', 'series_id', 'channels_hash', 'id'], unique=False)

    op.create_table('evaluation',
    sa.Column('model_id', sa.String(length=40), nullable=False),
    sa.Column('job_id', sa.String(length=40), nullable=True),
    sa.Column('series_id', sa.String(length=40), nullable=True),
    sa.Column('document', sa.JSON(), nullable=False),
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_evaluation'))
    )
    with op.batch_alter_table('evaluation', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_evaluation_job_id'), ['job_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_evaluation_tenant_id'), ['tenant', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_evaluation_tenant_model_id_id'), ['tenant', 'model_id', 'id'], unique=False)

    op.create_table('forecast',
    sa.Column('model_id', sa.String(length=40), nullable=False),
    sa.Column('blob_sha256', sa.String(length=64), nullable=True),
    sa.Column('job_id', sa.String(length=40), nullable=True),
    sa.Column('series_id', sa.String(length=40), nullable=True),
    sa.Column('document', sa.JSON(), nullable=False),
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_forecast'))
    )
    with op.batch_alter_table('forecast', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_forecast_blob_sha256'), ['blob_sha256'], unique=False)
        batch_op.create_index(batch_op.f('ix_forecast_job_id'), ['job_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_forecast_tenant_id'), ['tenant', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_forecast_tenant_model_id_id'), ['tenant', 'model_id', 'id'], unique=False)

    op.create_table('job',
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('max_attempts', sa.Integer(), nullable=False),
    sa.Column('timeout_s', sa.Integer(), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('request', sa.JSON(), nullable=False),
    sa.Column('series_id', sa.String(length=40), nullable=True),
    sa.Column('model_id', sa.String(length=40), nullable=True),
    sa.Column('progress', sa.JSON(), nullable=False),
    sa.Column('error', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('result_type', sa.String(length=20), nullable=True),
    sa.Column('result_id', sa.String(length=40), nullable=True),
    sa.Column('token', sa.String(length=32), nullable=True),
    sa.Column('worker', sa.String(length=200), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('deadline_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('dispatch_after', sa.DateTime(timezone=True), nullable=True),
    sa.Column('dispatches', sa.Integer(), nullable=False),
    sa.Column('checkpoint_sha256', sa.String(length=64), nullable=True),
    sa.Column('event_seq', sa.Integer(), nullable=False),
    sa.Column('progress_event_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_job'))
    )
    with op.batch_alter_table('job', schema=None) as batch_op:
        batch_op.create_index('ix_job_checkpoint', ['checkpoint_sha256'], unique=False, sqlite_where=sa.text('checkpoint_sha256 IS NOT NULL'), postgresql_where=sa.text('checkpoint_sha256 IS NOT NULL'))
        batch_op.create_index('ix_job_dispatch', ['dispatch_after'], unique=False, sqlite_where=sa.text('dispatch_after IS NOT NULL'), postgresql_where=sa.text('dispatch_after IS NOT NULL'))
        batch_op.create_index('ix_job_lease', ['lease_until'], unique=False, sqlite_where=sa.text('lease_until IS NOT NULL'), postgresql_where=sa.text('lease_until IS NOT NULL'))
        batch_op.create_index(batch_op.f('ix_job_series_id_status'), ['series_id', 'status'], unique=False)
        batch_op.create_index(batch_op.f('ix_job_tenant_id'), ['tenant', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_job_tenant_kind_id'), ['tenant', 'kind', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_job_tenant_status_id'), ['tenant', 'status', 'id'], unique=False)

    op.create_table('model',
    sa.Column('analysis_id', sa.String(length=40), nullable=True),
    sa.Column('job_id', sa.String(length=40), nullable=True),
    sa.Column('series_id', sa.String(length=40), nullable=True),
    sa.Column('document', sa.JSON(), nullable=False),
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_model'))
    )
    with op.batch_alter_table('model', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_model_job_id'), ['job_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_model_tenant_id'), ['tenant', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_model_tenant_series_id_id'), ['tenant', 'series_id', 'id'], unique=False)

    op.create_table('series',
    sa.Column('name', sa.String(length=200), nullable=True),
    sa.Column('content_hash', sa.String(length=64), nullable=False),
    sa.Column('blob_sha256', sa.String(length=64), nullable=False),
    sa.Column('n_bytes', sa.BigInteger(), nullable=False),
    sa.Column('n_steps', sa.BigInteger(), nullable=False),
    sa.Column('channels', sa.JSON(), nullable=False),
    sa.Column('dt', sa.Double(), nullable=False),
    sa.Column('time_unit', sa.String(length=20), nullable=False),
    sa.Column('time_start', sa.Double(), nullable=False),
    sa.Column('spec', sa.JSON(), nullable=False),
    sa.Column('profile', sa.JSON(), nullable=False),
    sa.Column('source', sa.JSON(), nullable=False),
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_series')),
    sa.UniqueConstraint('tenant', 'content_hash', name=op.f('uq_series_tenant_content_hash'))
    )
    with op.batch_alter_table('series', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_series_blob_sha256'), ['blob_sha256'], unique=False)
        batch_op.create_index(batch_op.f('ix_series_tenant_id'), ['tenant', 'id'], unique=False)

    op.create_table('artifact',
    sa.Column('model_id', sa.String(length=40), nullable=False),
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('media_type', sa.String(length=100), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('n_bytes', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['model_id'], ['model.id'], name=op.f('fk_artifact_model_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('model_id', 'name', name=op.f('pk_artifact'))
    )
    with op.batch_alter_table('artifact', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_artifact_sha256'), ['sha256'], unique=False)

    op.create_table('idempotency',
    sa.Column('tenant', sa.String(length=64), nullable=False),
    sa.Column('key', sa.String(length=255), nullable=False),
    sa.Column('request_hash', sa.String(length=64), nullable=False),
    sa.Column('job_id', sa.String(length=40), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['job.id'], name=op.f('fk_idempotency_job_id'), ondelete='CASCADE', initially='DEFERRED', deferrable=True),
    sa.PrimaryKeyConstraint('tenant', 'key', name=op.f('pk_idempotency'))
    )
    with op.batch_alter_table('idempotency', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_idempotency_expires_at'), ['expires_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_idempotency_job_id'), ['job_id'], unique=False)

    op.create_table('job_event',
    sa.Column('job_id', sa.String(length=40), nullable=False),
    sa.Column('seq', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('type', sa.String(length=20), nullable=False),
    sa.Column('data', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['job.id'], name=op.f('fk_job_event_job_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'seq', name=op.f('pk_job_event'))
    )


def downgrade() -> None:
    op.drop_table('job_event')
    with op.batch_alter_table('idempotency', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_idempotency_job_id'))
        batch_op.drop_index(batch_op.f('ix_idempotency_expires_at'))

    op.drop_table('idempotency')
    with op.batch_alter_table('artifact', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_artifact_sha256'))

    op.drop_table('artifact')
    with op.batch_alter_table('series', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_series_tenant_id'))
        batch_op.drop_index(batch_op.f('ix_series_blob_sha256'))

    op.drop_table('series')
    with op.batch_alter_table('model', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_model_tenant_series_id_id'))
        batch_op.drop_index(batch_op.f('ix_model_tenant_id'))
        batch_op.drop_index(batch_op.f('ix_model_job_id'))

    op.drop_table('model')
    with op.batch_alter_table('job', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_job_tenant_status_id'))
        batch_op.drop_index(batch_op.f('ix_job_tenant_kind_id'))
        batch_op.drop_index(batch_op.f('ix_job_tenant_id'))
        batch_op.drop_index(batch_op.f('ix_job_series_id_status'))
        batch_op.drop_index('ix_job_lease', sqlite_where=sa.text('lease_until IS NOT NULL'), postgresql_where=sa.text('lease_until IS NOT NULL'))
        batch_op.drop_index('ix_job_dispatch', sqlite_where=sa.text('dispatch_after IS NOT NULL'), postgresql_where=sa.text('dispatch_after IS NOT NULL'))
        batch_op.drop_index('ix_job_checkpoint', sqlite_where=sa.text('checkpoint_sha256 IS NOT NULL'), postgresql_where=sa.text('checkpoint_sha256 IS NOT NULL'))

    op.drop_table('job')
    with op.batch_alter_table('forecast', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_forecast_tenant_model_id_id'))
        batch_op.drop_index(batch_op.f('ix_forecast_tenant_id'))
        batch_op.drop_index(batch_op.f('ix_forecast_job_id'))
        batch_op.drop_index(batch_op.f('ix_forecast_blob_sha256'))

    op.drop_table('forecast')
    with op.batch_alter_table('evaluation', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_evaluation_tenant_model_id_id'))
        batch_op.drop_index(batch_op.f('ix_evaluation_tenant_id'))
        batch_op.drop_index(batch_op.f('ix_evaluation_job_id'))

    op.drop_table('evaluation')
    with op.batch_alter_table('analysis', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_analysis_tenant_series_id_channels_hash_id'))
        batch_op.drop_index(batch_op.f('ix_analysis_tenant_id'))
        batch_op.drop_index(batch_op.f('ix_analysis_job_id'))

    op.drop_table('analysis')
